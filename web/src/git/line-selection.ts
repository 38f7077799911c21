// Which lines of a change an action means. Pure.
import type { LineChange } from "../api/agent";

/**
 * The lines of `change` that are selected: of the new lines those between the two of `lines`, and of the
 * old lines those beside them. Without a selection in the change: all of it.
 */
export function selectedChanges(change: LineChange, lines: readonly [number, number] | null): LineChange[] {
  if (!lines) return [change];
  const [first, last] = lines;
  const from = Math.max(first, change.new_start);
  const to = Math.min(last, change.new_start + change.new_lines - 1);
  if (from > to) return [change];
  const skipped = from - change.new_start;
  const count = to - from + 1;
  const isWhole = count === change.new_lines;
  return [
    {
      old_start: change.old_start + (isWhole ? 0 : Math.min(skipped, change.old_lines)),
      old_lines: isWhole ? change.old_lines : Math.max(0, Math.min(count, change.old_lines - skipped)),
      new_start: from,
      new_lines: count,
    },
  ];
}

/** The changes of Git that touch these lines. `newLines` may be 0: then a place between lines is meant. */
export function touchedChanges(
  changes: readonly LineChange[],
  newStart: number,
  newLines: number,
): LineChange[] {
  const end = newStart + newLines;
  return changes.filter((change) => {
    const changeEnd = change.new_start + change.new_lines;
    return change.new_start <= end && newStart <= changeEnd;
  });
}
