// The bar that chooses what the side bar shows.
import { Icon } from "../ui/icons";

export type SideView = "explorer" | "search" | "git" | "ports";

const views = [
  ["explorer", "Explorer", "Ctrl+Shift+E", "files"],
  ["search", "Search", "Ctrl+Shift+F", "search"],
  ["git", "Source Control", "Ctrl+Shift+G", "branch"],
  ["ports", "Ports", "", "ports"],
] as const;

interface Props {
  /** Null: the side bar is hidden. */
  view: SideView | null;
  /** Changed files. */
  changes: number;
  /** The chosen view, or null to hide the side bar. */
  onChange: (view: SideView | null) => void;
}

export function ActivityBar({ view, changes, onChange }: Props) {
  return (
    <nav className="activity-bar" aria-label="Views">
      {views.map(([name, label, keys, icon]) => (
        <button
          key={name}
          aria-label={name === "git" && changes > 0 ? `${label}, ${changes} changes` : label}
          aria-pressed={view === name}
          title={keys ? `${label} (${keys})` : label}
          onClick={() => onChange(view === name ? null : name)}
        >
          <Icon name={icon} size={20} />
          {name === "git" && changes > 0 && (
            <span className="activity-count">{changes > 99 ? "99+" : changes}</span>
          )}
        </button>
      ))}
    </nav>
  );
}
