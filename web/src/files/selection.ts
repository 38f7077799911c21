// Which rows of the explorer are selected. Pure.
import { isWithin } from "./paths";
import type { TreeRow } from "./tree-model";

export interface Selection {
  paths: ReadonlySet<string>;
  /** Where a range begins. */
  anchor: string;
}

export const NO_SELECTION: Selection = { paths: new Set(), anchor: "" };

export const selectOnly = (path: string): Selection => ({ paths: new Set([path]), anchor: path });

export function toggleSelected({ paths }: Selection, path: string): Selection {
  const next = new Set(paths);
  if (!next.delete(path)) next.add(path);
  return { paths: next, anchor: path };
}

/** Everything between the anchor and `path`, both included. Without a visible anchor: only `path`. */
export function selectRange({ anchor }: Selection, path: string, rows: readonly TreeRow[]): Selection {
  const from = rows.findIndex((row) => row.path === anchor);
  const to = rows.findIndex((row) => row.path === path);
  if (from < 0 || to < 0) return selectOnly(path);
  const range = rows.slice(Math.min(from, to), Math.max(from, to) + 1);
  return { paths: new Set(range.map((row) => row.path)), anchor };
}

/**
 * The rows that an action on `row` is about: the selected ones if it is one of them, otherwise it alone.
 * What is inside another of them goes with it, and names that are not UTF-8 cannot be addressed.
 */
export function actedRows(selection: Selection, row: TreeRow, rows: readonly TreeRow[]): TreeRow[] {
  if (!selection.paths.has(row.path)) return row.entry.utf8 ? [row] : [];
  const selected = rows.filter(({ path, entry }) => selection.paths.has(path) && entry.utf8);
  return selected.filter(
    ({ path }) => !selected.some((other) => other.path !== path && isWithin(path, other.path)),
  );
}
