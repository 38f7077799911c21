// Keyboard focus in the workbench: moves between explorer, editor, terminal and status bar. Knows
// the DOM, but no network.
import type { RefObject } from "react";

export type Region = "files" | "editor" | "terminal" | "status";
const ORDER: readonly Region[] = ["files", "editor", "terminal", "status"];

/** The text in front in the focused group, or the empty group. */
export const EDITOR_TARGET =
  ".editor-group.focused .editor:not([hidden]) .cm-content, .editor-group.focused .editor-empty";

/** What takes the focus in a region. The terminal focuses itself. */
const TARGETS: Record<Exclude<Region, "terminal">, string> = {
  files: '[role="treeitem"][tabindex="0"]',
  editor: EDITOR_TARGET,
  status: '[data-region="status"]',
};

export function focusTarget(root: RefObject<HTMLElement | null>, region: Exclude<Region, "terminal">): void {
  afterRender(() => root.current?.querySelector<HTMLElement>(TARGETS[region])?.focus());
}

/** The region `by` steps after the one that has the focus. */
export function nextRegion(by: number): Region {
  const here = document.activeElement?.closest<HTMLElement>("[data-region]")?.dataset["region"];
  const at = ORDER.findIndex((region) => region === here);
  return ORDER[(at + by + ORDER.length) % ORDER.length] ?? "editor";
}

export function isTerminalFocused(): boolean {
  return Boolean(document.activeElement?.closest(".terminals"));
}

export function isFindPanelFocused(): boolean {
  return Boolean(document.activeElement?.closest(".find-panel"));
}

/** Runs after React has rendered the last state change. */
export function afterRender(run: () => void): void {
  requestAnimationFrame(() => requestAnimationFrame(run));
}
