// Asks before text is pasted that may run commands.
import { useState } from "react";
import { Dialog } from "../ui/dialog";
import { setPreference } from "../ui/preferences";
import { asOneLine, pasteRisk, shownText, withoutControls } from "./paste";

interface Props {
  text: string;
  /** The terminal pastes it, perhaps in another form. */
  onPaste: (text: string) => void;
  onClose: () => void;
}

export function PasteDialog({ text, onPaste, onClose }: Props) {
  const [isLast, setLast] = useState(false);
  const { lines, hasControls } = pasteRisk(text);
  const paste = (chosen: string) => {
    if (isLast) setPreference("terminalPasteWarning", "never");
    onClose();
    onPaste(chosen);
  };
  return (
    <Dialog
      title={lines > 1 ? `Paste ${lines} lines into the terminal?` : "Paste into the terminal?"}
      onClose={onClose}
    >
      <div className="form">
        <p className="soft">
          {hasControls
            ? "The text has control characters, which programs take as keys. They are shown as signs."
            : "The shell may run each line as a command."}
        </p>
        {/* Long texts scroll, so the keyboard must reach them. */}
        <pre className="paste-text" tabIndex={0} role="group" aria-label="Text to paste">
          {shownText(text)}
        </pre>
        <label className="check">
          <input type="checkbox" checked={isLast} onChange={(event) => setLast(event.target.checked)} />
          Do not ask again
        </label>
        <div className="form-actions">
          <button type="button" className="button" onClick={onClose}>
            Cancel
          </button>
          {lines > 1 ? (
            <button type="button" className="button" onClick={() => paste(asOneLine(text))}>
              Paste as one line
            </button>
          ) : (
            <button type="button" className="button" onClick={() => paste(withoutControls(text))}>
              Paste without them
            </button>
          )}
          <button type="button" className="button primary" onClick={() => paste(text)}>
            Paste
          </button>
        </div>
      </div>
    </Dialog>
  );
}
