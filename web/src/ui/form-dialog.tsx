// A dialog that contains one form, its error, and Cancel and submit buttons.
import type { ReactNode } from "react";
import { Dialog } from "./dialog";
import { FormError } from "./form-error";
import { type Submission } from "./use-submission";

interface Props {
  title: string;
  form: Submission;
  /** Label of the submit button. */
  action: string;
  disabled?: boolean;
  /** An error that does not come from submitting, such as a list that failed to load. */
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
