// Where keys move the focus in a tree of groups and the rows below them.

/** Rows of a group follow it. */
export interface GroupedRow {
  /** Of a group also the name by which it is collapsed. */
  key: string;
  isExpanded: boolean;
}

/** What `key` does at row `at`: the row to focus (an index), or what becomes of the group. Null: nothing. */
export function groupedKeyAction<Row extends GroupedRow>(
  rows: readonly Row[],
  at: number,
  key: string,
  isGroup: (row: Row) => boolean,
): number | "open" | "close" | null {
  const row = rows[at];
  if (!row) return null;
  const next = Math.min(at + 1, rows.length - 1);
  switch (key) {
    case "ArrowDown":
      return next;
    case "ArrowUp":
      return Math.max(at - 1, 0);
    case "Home":
      return 0;
    case "End":
      return rows.length - 1;
    case "ArrowRight":
      return isGroup(row) && !row.isExpanded ? "open" : next;
    case "ArrowLeft":
      return isGroup(row) ? "close" : rows.findLastIndex((other, index) => index < at && isGroup(other));
    default:
      return null;
  }
}
