// The bar that chooses what the side bar shows.
import { Icon } from "../ui/icons";

export type SideView = "explorer" | "search" | "git" | "problems" | "ports";

const views = [
  ["explorer", "Explorer", "Ctrl+Shift+E", "files"],
  ["search", "Search", "Ctrl+Shift+F", "search"],
  ["git", "Source Control", "Ctrl+Shift+G", "branch"],
  ["problems", "Problems", "Ctrl+Shift+M", "warning"],
  ["ports", "Ports", "", "ports"],
] as const;

interface Props {
  /** Null: the side bar is hidden. */
  view: SideView | null;
  /** Changed files. */
  changes: number;
  /** Errors and warnings. */
  problems: number;
  /** The chosen view, or null to hide the side bar. */
  onChange: (view: SideView | null) => void;
}

export function ActivityBar({ view, changes, problems, onChange }: Props) {
  const counts: Partial<Record<SideView, [number, string]>> = {
    git: [changes, "changes"],
    problems: [problems, "problems"],
  };
  return (
    <nav className="activity-bar" aria-label="Views">
      {views.map(([name, label, keys, icon]) => {
        const [count, noun] = counts[name] ?? [0, ""];
        return (
          <button
            key={name}
            aria-label={count > 0 ? `${label}, ${count} ${noun}` : label}
            aria-pressed={view === name}
            title={keys ? `${label} (${keys})` : label}
            onClick={() => onChange(view === name ? null : name)}
          >
            <Icon name={icon} size={20} />
            {count > 0 && <span className="activity-count">{count > 99 ? "99+" : count}</span>}
          </button>
        );
      })}
    </nav>
  );
}
