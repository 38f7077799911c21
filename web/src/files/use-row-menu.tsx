// The context menu of a row in a file tree: opened by pointer, button or keyboard.
import { useState, type KeyboardEvent, type MouseEvent, type ReactNode } from "react";
import { ContextMenu, type MenuEntry } from "../ui/menu";
import { type TreeRow } from "./tree-model";
import type { TreeFocus } from "./use-tree-focus";

export interface RowMenu {
  open: (event: MouseEvent, row: TreeRow | null) => void;
  /** Opens the menu for the focused row if the key is a menu key. */
  onKey: (event: KeyboardEvent) => boolean;
  element: ReactNode;
}

/** The menu of a row, or of the tree if the row is null. */
export function useRowMenu(focus: TreeFocus, itemsOf: (row: TreeRow | null) => MenuEntry[]): RowMenu {
  const [menu, setMenu] = useState<{ x: number; y: number; row: TreeRow | null } | null>(null);
  const open = (event: MouseEvent, row: TreeRow | null) => {
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
