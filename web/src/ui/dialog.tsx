// Modal dialogs on the browser's <dialog>, which traps the focus. On close, the focus returns to where
// it was.
import { useId, useLayoutEffect, useRef, useState, type FormEvent, type ReactNode } from "react";
import { errorMessage } from "../api/client";
import { RequestId } from "./failure";
import { focusPage } from "./focus";
import { Icon } from "./icons";

interface DialogProps {
  title: string;
  onClose: () => void;
  wide?: boolean;
  /** A palette is near the top, shows no title, and closes when the user clicks beside it. */
  kind?: "form" | "palette";
  children: ReactNode;
}

export function Dialog({ title, onClose, wide = false, kind = "form", children }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  const heading = useId();
  // A layout effect, because it must end before React removes the element: a dialog that is removed while
  // it is open leaves the focus nowhere.
  useLayoutEffect(() => {
    const dialog = element.current;
    const opener = document.activeElement;
    if (dialog && !dialog.open) {
      dialog.showModal();
      // React's autoFocus comes before showModal, when nothing can take the focus yet.
      initialFocus(dialog)?.focus();
    }
    return () => {
      dialog?.close();
      restoreFocus(opener);
    };
  }, []);
  return (
    <dialog
      ref={element}
      className={["dialog", wide && "wide", kind === "palette" && "palette"].filter(Boolean).join(" ")}
      aria-label={kind === "palette" ? title : undefined}
      aria-labelledby={kind === "palette" ? undefined : heading}
      onPointerDown={(event) => {
        // The dialog itself has no area that its content does not cover: this is the veil.
        if (kind === "palette" && event.target === event.currentTarget) onClose();
      }}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      // Keys typed in a dialog are not key bindings of the page below.
      onKeyDown={(event) => event.stopPropagation()}
    >
      {kind === "form" && (
        <div className="dialog-head">
          <h2 id={heading}>{title}</h2>
          <button type="button" className="icon-button" aria-label="Close" onClick={onClose}>
            <Icon name="close" />
          </button>
        </div>
      )}
      {children}
    </dialog>
  );
}

/** The first field, or the primary action unless it destroys something: then Cancel. */
function initialFocus(dialog: HTMLElement): HTMLElement | null {
  return (
    dialog.querySelector<HTMLElement>("input:not([type=checkbox]), textarea, select") ??
    dialog.querySelector<HTMLElement>(".form-actions > :last-child:not(.danger)") ??
    dialog.querySelector<HTMLElement>(".form-actions > .button:not(.danger)")
  );
}

/** Focuses what opened a dialog, once React is done. If the dialog's action has removed it: the page. */
function restoreFocus(opener: Element | null): void {
  queueMicrotask(() => {
    const isFree = document.activeElement === null || document.activeElement === document.body;
    const isThere = opener instanceof HTMLElement && opener !== document.body && opener.isConnected;
    if (isThere) opener.focus();
    else if (isFree) focusPage();
  });
}

interface ConfirmProps {
  title: string;
  text: ReactNode;
  action: string;
  /** A name that the user must type first. For actions that cannot be undone. */
  confirmationText?: string;
  onConfirm: () => Promise<void>;
  onClose: () => void;
}

/** Confirms a destructive action. Errors are shown in the dialog. */
export function ConfirmDialog({ title, text, action, confirmationText, onConfirm, onClose }: ConfirmProps) {
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
        {confirmationText && (
          <div className="field">
            <label htmlFor={field}>
              Type <code>{confirmationText}</code> to confirm
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
            {errorMessage(wrong)} <RequestId error={wrong} />
          </p>
        )}
        <div className="form-actions">
          <button type="button" className="button" onClick={onClose}>
            Cancel
          </button>
          <button
            className="button danger"
            disabled={busy || (confirmationText !== undefined && word !== confirmationText)}
          >
            {action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
