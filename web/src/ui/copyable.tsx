// A command or secret with a Copy button.
import { copyText } from "./toasts";
import { Icon } from "./icons";

export function Copyable({ text, what }: { text: string; what: string }) {
  return (
    <span className="command-line">
      <code>{text}</code>
      <button
        type="button"
        className="icon-button"
        aria-label={`Copy ${what}`}
        onClick={() => void copyText(text, what)}
      >
        <Icon name="copy" />
      </button>
    </span>
  );
}
