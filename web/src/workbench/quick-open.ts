// What a text in the palette means: a file, a line, a symbol, or a command. Pure.

export type PaletteQuery =
  | { kind: "command"; text: string }
  | { kind: "line"; at: TextPosition | null }
  | { kind: "symbol"; text: string }
  | { kind: "workspaceSymbol"; text: string }
  | { kind: "file"; text: string; at: TextPosition | null };

/** A line and a column, both counted from 1. */
export interface TextPosition {
  line: number;
  column: number;
}

/**
 * `>` begins a command, `:` a line, `@` a symbol of the file and `#` one of any file. A file may end with
 * `:line` or `:line:column`.
 */
export function parseQuery(text: string): PaletteQuery {
  if (text.startsWith(">")) return { kind: "command", text: text.slice(1) };
  if (text.startsWith("@")) return { kind: "symbol", text: text.slice(1).trim() };
  if (text.startsWith("#")) return { kind: "workspaceSymbol", text: text.slice(1).trim() };
  const position = /:(\d*)(?::(\d*))?$/.exec(text);
  const line = Number(position?.[1]);
  const at = line > 0 ? { line, column: Math.max(1, Number(position?.[2] || 1)) } : null;
  if (text.startsWith(":")) return { kind: "line", at };
  return { kind: "file", text: position ? text.slice(0, position.index) : text, at };
}

export interface FoundGroup {
  heading: string;
  paths: string[];
}

/** How many files are listed in each group. */
const MAX_RECENT = 10;
const MAX_FOUND = 60;

/** What quick open lists: recently opened files that match first, then the best of the others. */
export function groupFiles(recent: readonly string[], found: readonly string[]): FoundGroup[] {
  const first = recent.slice(0, MAX_RECENT);
  const rest = found.filter((path) => !first.includes(path)).slice(0, MAX_FOUND);
  return [
    { heading: "Recently opened", paths: first },
    { heading: first.length > 0 ? "Other files" : "Files", paths: rest },
  ].filter(({ paths }) => paths.length > 0);
}
