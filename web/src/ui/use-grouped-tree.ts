// Keyboard focus in a tree of two levels: groups that collapse, and the rows below them.
import { useRef, useState, type RefObject } from "react";
import { groupedKeyAction, type GroupedRow } from "./grouped-tree";

interface GroupedTree<Row> {
  tree: RefObject<HTMLUListElement | null>;
  /** The index of the row in the tab order. */
  at: number;
  focused: string;
  setFocused: (key: string) => void;
  focusRow: (row: Row | undefined) => void;
  setCollapse: (group: Row, collapse: boolean) => void;
  /** Moves the focus, expands or collapses. Returns false if the key does none of that. */
  pressKey: (key: string) => boolean;
}

/** Rows have `data-key`. `setCollapsed` gets the keys of the groups that are collapsed. */
export function useGroupedTree<Row extends GroupedRow>(
  rows: readonly Row[],
  isGroup: (row: Row) => boolean,
  collapsed: ReadonlySet<string>,
  setCollapsed: (collapsed: ReadonlySet<string>) => void,
): GroupedTree<Row> {
  const [focused, setFocused] = useState("");
  const tree = useRef<HTMLUListElement>(null);
  const at = Math.max(
    0,
    rows.findIndex((row) => row.key === focused),
  );
  const focusRow = (row: Row | undefined) => {
    if (!row) return;
    setFocused(row.key);
    const find = () => tree.current?.querySelector<HTMLElement>(`[data-key="${CSS.escape(row.key)}"]`);
    const element = find();
    if (element) element.focus();
    // It is out of view: it exists once it is the focused one.
    else requestAnimationFrame(() => find()?.focus());
  };
  const setCollapse = (group: Row, collapse: boolean) => {
    const next = new Set(collapsed);
    if (collapse) next.add(group.key);
    else next.delete(group.key);
    setCollapsed(next);
  };
  const pressKey = (key: string) => {
    const action = groupedKeyAction(rows, at, key, isGroup);
    const row = rows[at];
    if (action === null || !row) return false;
    if (typeof action === "number") focusRow(rows[action]);
    else setCollapse(row, action === "close");
    return true;
  };
  return { tree, at, focused, setFocused, focusRow, setCollapse, pressKey };
}
