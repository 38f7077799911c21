// Where keys move the focus in a tree of groups and the rows below them, which may be groups, too.

/** Rows of a group follow it. */
export interface GroupedRow {
  /** Of a group also the name by which it is collapsed. */
  key: string;
  isExpanded: boolean;
  /** How many groups contain it, in a tree of more than two levels. */
  level?: number;
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
      if (row.level === undefined)
        return isGroup(row) ? "close" : rows.findLastIndex((other, index) => index < at && isGroup(other));
      if (row.isExpanded) return "close";
      return rows.findLastIndex(({ level = 0 }, index) => index < at && level < (row.level ?? 0));
    default:
      return null;
  }
}
