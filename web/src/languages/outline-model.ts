// The symbols of a file as a tree. Pure.
import type { DocumentSymbol, TextPosition } from "../api/agent";
import type { GroupedRow } from "../ui/grouped-tree";

export interface OutlineRow extends GroupedRow {
  symbol: DocumentSymbol;
  level: number;
  hasChildren: boolean;
}

/** The rows that are shown. Keys name symbols by what contains them, so that they survive edits. */
export function outlineRows(
  symbols: readonly DocumentSymbol[],
  collapsed: ReadonlySet<string>,
): OutlineRow[] {
  const rows: OutlineRow[] = [];
  const seen = new Map<string, number>();
  const path: string[] = [];
  /** Symbols that are deeper are hidden. */
  let hiddenBelow = Infinity;
  symbols.forEach((symbol, index) => {
    const { name, depth } = symbol;
    path.length = Math.min(path.length, depth);
    const named = [...path, name].join("\n");
    const count = seen.get(named) ?? 0;
    seen.set(named, count + 1);
    path.push(count > 0 ? `${name} ${count}` : name);
    const key = path.join("\n");
    if (depth > hiddenBelow) return;
    const hasChildren = (symbols[index + 1]?.depth ?? 0) > depth;
    const isExpanded = hasChildren && !collapsed.has(key);
    hiddenBelow = hasChildren && !isExpanded ? depth : Infinity;
    rows.push({ key, symbol, level: depth, hasChildren, isExpanded });
  });
  return rows;
}

/** The row of the innermost symbol that contains a place, or of what contains it if it is hidden. */
export function rowAt(rows: readonly OutlineRow[], at: TextPosition): OutlineRow | null {
  const isBefore = (a: TextPosition, b: TextPosition) =>
    a.line < b.line || (a.line === b.line && a.column < b.column);
  const contains = ({ symbol: { range } }: OutlineRow) =>
    !isBefore(at, range.start) && !isBefore(range.end, at);
  return rows.findLast(contains) ?? null;
}
