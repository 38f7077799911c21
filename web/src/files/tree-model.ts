// The file tree as rows: which entries are visible, at what depth. Pure.
import type { Entry } from "../api/agent";
import { childOf, isWithin, nameOf, parentOf } from "./paths";

export interface Directory {
  entries: readonly Entry[];
  truncated: boolean;
}

export interface TreeRow {
  path: string;
  entry: Entry;
  depth: number;
  expanded: boolean;
  /** Position among its siblings, for screen readers. */
  position: number;
  siblings: number;
}

export type Directories = ReadonlyMap<string, Directory>;

export function visibleRows(
  directories: Directories,
  expanded: ReadonlySet<string>,
  hidden: boolean,
): TreeRow[] {
  const rows: TreeRow[] = [];
  const add = (directory: string, depth: number) => {
    const all = directories.get(directory)?.entries ?? [];
    const entries = hidden ? all : all.filter((entry) => !entry.name.startsWith("."));
    entries.forEach((entry, index) => {
      const path = childOf(directory, entry.name);
      const open = entry.kind === "directory" && entry.utf8 && expanded.has(path);
      rows.push({ path, entry, depth, expanded: open, position: index + 1, siblings: entries.length });
      if (open) add(path, depth + 1);
    });
  };
  add("", 0);
  return rows;
}

/** `known` with a new listing. What was known below folders that are gone is dropped with them. */
export function withListing(known: Directories, path: string, listing: Directory): Directories {
  const folders = new Set(
    listing.entries.filter((entry) => entry.kind === "directory").map((entry) => entry.name),
  );
  const gone = [...known.keys()].filter(
    (one) => one !== "" && parentOf(one) === path && !folders.has(nameOf(one)),
  );
  return new Map(gone.reduce(without, known)).set(path, listing);
}

/** `known` without a folder and everything below it. */
export function without(known: Directories, path: string): Directories {
  return new Map([...known].filter(([one]) => !isWithin(one, path)));
}

/** The expanded directories, which must be listed and watched. */
export function visibleDirectories(directories: Directories, expanded: ReadonlySet<string>): string[] {
  const open = visibleRows(directories, expanded, true).filter((row) => row.expanded);
  return ["", ...open.map((row) => row.path)];
}

/** What `key` does at row `at`: the index of the row to focus, or to open or close the row. Null: nothing. */
export function keyAction(
  rows: readonly TreeRow[],
  at: number,
  key: string,
): number | "open" | "close" | null {
  const row = rows[at];
  if (!row) return rows.length > 0 ? 0 : null;
  switch (key) {
    case "ArrowDown":
      return Math.min(at + 1, rows.length - 1);
    case "ArrowUp":
      return Math.max(at - 1, 0);
    case "Home":
      return 0;
    case "End":
      return rows.length - 1;
    case "ArrowRight":
      if (row.entry.kind !== "directory") return null;
      return row.expanded ? Math.min(at + 1, rows.length - 1) : "open";
    case "ArrowLeft": {
      if (row.expanded) return "close";
      for (let index = at - 1; index >= 0; index -= 1) {
        if ((rows[index] as TreeRow).depth < row.depth) return index;
      }
      return null;
    }
    default:
      return null;
  }
}

/** The next row after `at` whose name begins with what was typed. */
export function findByPrefix(rows: readonly TreeRow[], at: number, typed: string): number | null {
  const wanted = typed.toLowerCase();
  for (let distance = typed.length > 1 ? 0 : 1; distance <= rows.length; distance += 1) {
    const index = (at + distance) % rows.length;
    if (rows[index]?.entry.name.toLowerCase().startsWith(wanted)) return index;
  }
  return null;
}

/** `expanded` with a directory opened or closed. Without `open`, it is toggled. */
export function toggled(expanded: ReadonlySet<string>, path: string, open?: boolean): ReadonlySet<string> {
  const next = new Set(expanded);
  if (open ?? !next.has(path)) next.add(path);
  else next.delete(path);
  return next;
}

/** A line that is shown, or a gap of lines that are not. */
export type LinePart = { index: number } | { gap: number; before: number };

/** The shown lines in their order, with a gap for each run of lines in between. */
export function withGaps(shown: readonly number[], count: number): LinePart[] {
  const parts: LinePart[] = [];
  let next = 0;
  for (const index of shown) {
    if (index >= count) break;
    if (index > next) parts.push({ gap: index - next, before: index });
    parts.push({ index });
    next = index + 1;
  }
  if (next < count) parts.push({ gap: count - next, before: count });
  return parts;
}
