// Keyboard focus on the history page: F6 moves between its regions. Knows the DOM, but no network.

/** What takes the focus in a region: the first of these that is visible. */
const regionTargets = [
  '[role="slider"]',
  '[role="treeitem"][tabindex="0"]',
  ".change-row:not(:disabled)",
  ".cm-content",
  "button",
];

/** Focuses the first visible target of the region `by` steps after the one that has the focus. */
export function focusNextRegion(root: HTMLElement | null, by: number): void {
  const regions = [...(root?.querySelectorAll<HTMLElement>("[data-region]") ?? [])];
  const here = regions.findIndex((region) => region.contains(document.activeElement));
  const next = regions[(here + by + regions.length) % regions.length];
  const all = regionTargets.flatMap((target) => [...(next?.querySelectorAll<HTMLElement>(target) ?? [])]);
  all.find((target) => target.offsetParent !== null)?.focus();
}
