// What every tree of files does alike: which row has the focus, what the arrow keys and typed letters lead to, a row's menu, how
// a row reads.
import {
  useRef,
  useState,
  type KeyboardEvent,
  type LiHTMLAttributes,
  type MouseEvent,
  type ReactNode,
  type RefObject,
} from "react";
import { Icon } from "../ui/icons";
import { ContextMenu, type MenuEntry } from "../ui/menu";
import { shown } from "./paths";
import { step, typedAhead, type Directories, type Row } from "./tree-model";

/** Letters typed within this time are one word. */
const TYPE_AHEAD_MS = 700;

export interface TreeFocus {
  element: RefObject<HTMLUListElement | null>;
  /** The row that Tab leads to. */
  current: Row | undefined;
  focused: string;
  setFocused: (path: string) => void;
  focusRow: (path: string) => void;
  elementOf: (path: string) => HTMLElement | null;
  /** Moves by the key, opens or closes; false where the key means nothing to a tree. */
  onKey: (event: KeyboardEvent) => boolean;
}

export function useTreeFocus(rows: readonly Row[], toggle: (path: string, open: boolean) => void): TreeFocus {
  const [focused, setFocused] = useState("");
  const element = useRef<HTMLUListElement>(null);
  const typed = useRef({ text: "", at: 0 });
  const at = Math.max(
    0,
    rows.findIndex((row) => row.path === focused),
  );
  const current = rows[at];
  const elementOf = (path: string) =>
    element.current?.querySelector<HTMLElement>(`[data-path="${CSS.escape(path)}"]`) ?? null;
  const focusRow = (path: string) => {
    setFocused(path);
    requestAnimationFrame(() => elementOf(path)?.focus());
  };
  const onKey = (event: KeyboardEvent): boolean => {
    if (event.ctrlKey || event.metaKey || event.altKey || !current) return false;
    const to = step(rows, at, event.key);
    if (to !== null) {
      event.preventDefault();
      if (typeof to === "number") focusRow(rows[to]?.path ?? "");
      else toggle(current.path, to === "open");
      return true;
    }
    if (event.key.length !== 1) return false;
    const now = event.timeStamp;
    const text = (now - typed.current.at < TYPE_AHEAD_MS ? typed.current.text : "") + event.key;
    typed.current = { text, at: now };
    const found = typedAhead(rows, at, text);
    if (found !== null) focusRow(rows[found]?.path ?? "");
    return true;
  };
  return { element, current, focused, setFocused, focusRow, elementOf, onKey };
}

export interface RowMenu {
  open: (event: MouseEvent, row: Row | null) => void;
  /** Opens it for the focused row, if the key asks for it. */
  onKey: (event: KeyboardEvent) => boolean;
  element: ReactNode;
}

/** The menu of a row, or with none that of the tree: by the pointer, by its button, by the keyboard. */
export function useRowMenu(focus: TreeFocus, itemsOf: (row: Row | null) => MenuEntry[]): RowMenu {
  const [menu, setMenu] = useState<{ x: number; y: number; row: Row | null } | null>(null);
  const open = (event: MouseEvent, row: Row | null) => {
    event.preventDefault();
    event.stopPropagation();
    if (row) focus.setFocused(row.path);
    setMenu({ x: event.clientX, y: event.clientY, row });
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key !== "ContextMenu" && !(event.key === "F10" && event.shiftKey)) return false;
    const box = focus.current && focus.elementOf(focus.current.path)?.getBoundingClientRect();
    event.preventDefault();
    if (box) setMenu({ x: box.left + 24, y: box.bottom, row: focus.current ?? null });
    return true;
  };
  const close = () => {
    setMenu(null);
    if (menu?.row) focus.elementOf(menu.row.path)?.focus();
  };
  const element = menu && (
    <ContextMenu label="Actions" x={menu.x} y={menu.y} items={itemsOf(menu.row)} onClose={close} />
  );
  return { open, onKey, element };
}

interface TreeItemProps extends LiHTMLAttributes<HTMLLIElement> {
  row: Row;
  focus: TreeFocus;
  menu: RowMenu;
  active: boolean;
  onOpen: (row: Row) => void;
}

export function TreeItem({ row, focus, menu, active, onOpen, className, ...rest }: TreeItemProps) {
  const isDirectory = row.entry.kind === "directory";
  return (
    <li
      role="treeitem"
      data-path={row.path}
      className={["tree-row", active && "active", className].filter(Boolean).join(" ")}
      aria-level={row.depth + 1}
      aria-posinset={row.position}
      aria-setsize={row.siblings}
      aria-expanded={isDirectory ? row.expanded : undefined}
      aria-selected={active}
      aria-disabled={!row.entry.utf8 || undefined}
      tabIndex={row === focus.current ? 0 : -1}
      style={{ paddingInlineStart: `${8 + row.depth * 14}px` }}
      onClick={() => {
        focus.setFocused(row.path);
        onOpen(row);
      }}
      onFocus={() => focus.setFocused(row.path)}
      onContextMenu={(event) => menu.open(event, row)}
      {...rest}
    >
      <TreeLabel row={row} />
      <button
        // The keyboard has its own way to the menu.
        tabIndex={-1}
        aria-hidden="true"
        className="tree-more"
        title="More"
        onClick={(event) => menu.open(event, row)}
      >
        <Icon name="more" size={14} />
      </button>
    </li>
  );
}

function TreeLabel({ row }: { row: Row }) {
  const { entry } = row;
  const icon = entry.kind === "directory" ? "folder" : entry.kind === "symlink" ? "link" : "file";
  return (
    <>
      <span className={row.expanded ? "twist open" : "twist"}>
        {entry.kind === "directory" && <Icon name="chevron" size={12} />}
      </span>
      <Icon name={icon} size={15} />
      <span className={entry.name.startsWith(".") ? "tree-name soft" : "tree-name"}>{shown(entry.name)}</span>
    </>
  );
}

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
  return <p className="tree-note soft small">A folder has more entries than are shown.</p>;
}
