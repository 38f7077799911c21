// A dialog that is one form: what it asks for, what went wrong, and the two ways out.
import type { ReactNode } from "react";
import { Dialog } from "../ui/dialog";
import { FormError, type Submission } from "./gate";

interface Props {
  title: string;
  form: Submission;
  /** The verb on the button. */
  action: string;
  disabled?: boolean;
  /** Of something else than the sending. */
  error?: unknown;
  onClose: () => void;
  children: ReactNode;
}

export function FormDialog({ title, form, action, disabled = false, error, onClose, children }: Props) {
  return (
    <Dialog title={title} onClose={onClose}>
      <form className="form" onSubmit={form.submit}>
        {children}
        <FormError error={form.error ?? error} />
        <div className="form-actions">
          <button type="button" className="button" onClick={onClose}>
            Cancel
          </button>
          <button className="button primary" disabled={form.busy || disabled}>
            {action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
