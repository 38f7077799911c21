// A button that explains why it is disabled.
import { useId, type ButtonHTMLAttributes } from "react";
import { toast } from "./toasts";

interface ReasonButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  /** Why it cannot be pressed now; empty if it can. */
  reason: string;
}

/** A button that says why it does nothing, also to those who cannot point at it. */
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
