// On narrow windows: the bar that chooses the one visible pane.
import { Icon } from "../ui/icons";

export type Pane = "files" | "search" | "git" | "problems" | "editor" | "terminal" | "ports";

const panes = [
  ["files", "Explorer", "files"],
  ["search", "Search", "search"],
  ["git", "Git", "branch"],
  ["editor", "Editor", "file"],
  ["terminal", "Terminal", "terminal"],
  ["problems", "Problems", "warning"],
  ["ports", "Ports", "ports"],
] as const;

export function BottomBar({ pane, onChange }: { pane: Pane; onChange: (pane: Pane) => void }) {
  return (
    <nav className="bottom-bar" aria-label="Panes">
      {panes.map(([name, label, icon]) => (
        <button key={name} aria-pressed={pane === name} onClick={() => onChange(name)}>
          <Icon name={icon} />
          {label}
        </button>
      ))}
    </nav>
  );
}
