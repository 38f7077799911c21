// Small parts that every file tree shows: the dotfiles switch, and a note when a folder is truncated.
import { Icon } from "../ui/icons";
import { type Directories } from "./tree-model";

export function DotfilesButton({ shown, onChange }: { shown: boolean; onChange: (shown: boolean) => void }) {
  return (
    <button
      className="icon-button"
      aria-label="Show dotfiles"
      aria-pressed={shown}
      title={shown ? "Hide dotfiles" : "Show dotfiles"}
      onClick={() => onChange(!shown)}
    >
      <Icon name="eye" />
    </button>
  );
}

export function TruncatedNote({ directories }: { directories: Directories }) {
  if (![...directories.values()].some((directory) => directory.truncated)) return null;
  return <p className="tree-note soft small">Some folders have more entries than are shown.</p>;
}
