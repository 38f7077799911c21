// What every tree of files does alike: which row has the focus, what the arrow keys and typed letters lead to, how a row reads.
import { useRef, useState, type KeyboardEvent, type RefObject } from "react";
import { Icon } from "../ui/icons";
import { shown } from "./paths";
import { step, typedAhead, type Row } from "./tree-model";

/** Letters typed within this time are one word. */
const TYPE_AHEAD_MS = 700;

export interface TreeFocus {
  element: RefObject<HTMLUListElement | null>;
  /** The row that Tab leads to. */
  at: number;
  current: Row | undefined;
  focused: string;
  setFocused: (path: string) => void;
  focusRow: (path: string) => void;
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
  const focusRow = (path: string) => {
    setFocused(path);
    requestAnimationFrame(() =>
      element.current?.querySelector<HTMLElement>(`[data-path="${CSS.escape(path)}"]`)?.focus(),
    );
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
  return { element, at, current, focused, setFocused, focusRow, onKey };
}

/** What a row shows of its entry. */
export function TreeLabel({ row }: { row: Row }) {
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
