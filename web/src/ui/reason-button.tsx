// A button that explains why it is disabled.
import { useId, type ButtonHTMLAttributes } from "react";
import { toast } from "./toasts";

interface ReasonButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  /** Why the button is disabled. Empty if it is enabled. */
  reason: string;
}

/**
 * Stays focusable while disabled. The reason is in the tooltip, in the description, and in a toast
 * on click.
 */
export function ReasonButton({ reason, className = "button", onClick, ...rest }: ReasonButtonProps) {
  const id = useId();
  return (
    <>
      <button
        type="button"
        className={className}
        aria-disabled={reason ? true : undefined}
        aria-describedby={reason ? id : undefined}
        title={reason || undefined}
        {...rest}
        onClick={reason ? () => toast(reason) : onClick}
      />
      {reason && (
        <span id={id} hidden>
          {reason}
        </span>
      )}
    </>
  );
}
