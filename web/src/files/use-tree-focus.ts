// Keyboard focus in a file tree: which row has it, and where arrow keys and typed letters move it.
import { useRef, useState, type KeyboardEvent, type RefObject } from "react";
import { keyAction, findByPrefix, type TreeRow } from "./tree-model";

/** Letters typed within this time are matched as one prefix. */
const TYPE_AHEAD_MS = 700;

export interface TreeFocus {
  element: RefObject<HTMLUListElement | null>;
  /** The row in the tab order. */
  current: TreeRow | undefined;
  focused: string;
  setFocused: (path: string) => void;
  focusRow: (path: string) => void;
  elementOf: (path: string) => HTMLElement | null;
  /** Moves the focus, expands or collapses. Returns false if the key has no meaning in a tree. */
  onKey: (event: KeyboardEvent) => boolean;
}

export function useTreeFocus(
  rows: readonly TreeRow[],
  toggle: (path: string, open: boolean) => void,
): TreeFocus {
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
    const to = keyAction(rows, at, event.key);
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
    const found = findByPrefix(rows, at, text);
    if (found !== null) focusRow(rows[found]?.path ?? "");
    return true;
  };
  return { element, current, focused, setFocused, focusRow, elementOf, onKey };
}
