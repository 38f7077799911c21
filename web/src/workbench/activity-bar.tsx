// The bar that chooses what the side bar shows.
import { Icon } from "../ui/icons";

export type SideView = "explorer" | "search";

const views = [
  ["explorer", "Explorer", "Ctrl+Shift+E", "files"],
  ["search", "Search", "Ctrl+Shift+F", "search"],
] as const;

interface Props {
  /** Null: the side bar is hidden. */
  view: SideView | null;
  /** The chosen view, or null to hide the side bar. */
  onChange: (view: SideView | null) => void;
}

export function ActivityBar({ view, onChange }: Props) {
  return (
    <nav className="activity-bar" aria-label="Views">
      {views.map(([name, label, keys, icon]) => (
        <button
          key={name}
          aria-label={label}
          aria-pressed={view === name}
          title={`${label} (${keys})`}
          onClick={() => onChange(view === name ? null : name)}
        >
          <Icon name={icon} size={20} />
        </button>
      ))}
    </nav>
  );
}
