// Modal dialogs on the browser's own <dialog>, which keeps focus inside and gives it back.
import { useEffect, useId, useRef, useState, type FormEvent, type ReactNode } from "react";
import { wordsOf } from "../api/client";
import { RequestId } from "./failure";
import { Icon } from "./icons";

interface DialogProps {
  title: string;
  onClose: () => void;
  wide?: boolean;
  children: ReactNode;
}

export function Dialog({ title, onClose, wide = false, children }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    const dialog = element.current;
    if (dialog && !dialog.open) {
      dialog.showModal();
      // React's autoFocus comes too early: what is not shown yet takes no focus.
      asked(dialog)?.focus();
    }
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={element}
      className={wide ? "dialog wide" : "dialog"}
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      // Keys typed in a dialog are not commands of the page below.
      onKeyDown={(event) => event.stopPropagation()}
    >
      <div className="dialog-head">
        <h2 id={heading}>{title}</h2>
        <button type="button" className="icon-button" aria-label="Close" onClick={onClose}>
          <Icon name="close" />
        </button>
      </div>
      {children}
    </dialog>
  );
}

/** What a dialog asks for: its first field, or the action that it proposes. */
function asked(dialog: HTMLElement): HTMLElement | null {
  return (
    dialog.querySelector<HTMLElement>("input, textarea, select") ??
    dialog.querySelector<HTMLElement>(".form-actions > :last-child")
  );
}

interface ConfirmProps {
  title: string;
  text: ReactNode;
  action: string;
  /** Must be typed first: for what cannot be undone. */
  typed?: string;
  onConfirm: () => Promise<void>;
  onClose: () => void;
}

/** A destructive act, asked for once more. Failures are shown in place. */
export function Confirm({ title, text, action, typed, onConfirm, onClose }: ConfirmProps) {
  const [word, setWord] = useState("");
  const [busy, setBusy] = useState(false);
  const [wrong, setWrong] = useState<unknown>(null);
  const field = useId();
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    try {
      await onConfirm();
      onClose();
    } catch (error) {
      setWrong(error);
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <form className="form" onSubmit={submit}>
        <div>{text}</div>
        {typed && (
          <div className="field">
            <label htmlFor={field}>
              Type <code>{typed}</code> to confirm
            </label>
            <input
              id={field}
              className="input"
              autoComplete="off"
              spellCheck={false}
              value={word}
              onChange={(event) => setWord(event.target.value)}
            />
          </div>
        )}
        {wrong !== null && (
          <p className="wrong" role="alert">
            {wordsOf(wrong)} <RequestId error={wrong} />
          </p>
        )}
        <div className="form-actions">
          <button type="button" className="button" onClick={onClose}>
            Cancel
          </button>
          <button className="button danger" disabled={busy || (typed !== undefined && word !== typed)}>
            {action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
