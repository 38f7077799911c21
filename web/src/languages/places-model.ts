// Places in files as a tree of two levels: problems and references. Pure.
import type { FileDiagnostics, TextLocation, TextRange } from "../api/agent";
import type { GroupedRow } from "../ui/grouped-tree";

export interface Place {
  range: TextRange;
  text: string;
  /** Shown after the text. */
  note: string;
  severity: "error" | "warning" | "info" | "hint" | null;
}

export interface FilePlaces {
  path: string;
  places: readonly Place[];
  /** Whether there are more. */
  truncated: boolean;
}

/** A line of the tree: a file, or a place in it. */
export interface PlaceRow extends GroupedRow {
  path: string;
  /** Null for the file itself. */
  place: Place | null;
  count: number;
}

export function placeRows(files: readonly FilePlaces[], collapsed: ReadonlySet<string>): PlaceRow[] {
  return files.flatMap(({ path, places }) => {
    const isExpanded = !collapsed.has(path);
    const file: PlaceRow = { key: path, path, place: null, count: places.length, isExpanded };
    if (!isExpanded) return [file];
    const below = places.map((place, index) => ({
      key: `${path}:${index}`,
      path,
      place,
      count: 0,
      isExpanded: false,
    }));
    return [file, ...below];
  });
}

const SEVERITIES = ["error", "warning", "info", "hint"] as const;

/** The problems of all files, those with errors first. Hints are only shown in the text. */
export function problemFiles(diagnostics: Iterable<FileDiagnostics>): FilePlaces[] {
  const files = new Map<string, FilePlaces>();
  for (const file of diagnostics) {
    const known = files.get(file.path);
    const places = file.diagnostics
      .filter(({ severity }) => severity !== "hint")
      .map(({ range, message, severity, source, code }) => ({
        range,
        severity,
        text: message,
        note: [source, code].filter(Boolean).join(" "),
      }));
    const all = [...(known?.places ?? []), ...places].sort(comparePlaces);
    const truncated = file.truncated === true || known?.truncated === true;
    if (all.length > 0) files.set(file.path, { path: file.path, places: all, truncated });
  }
  const worst = ({ places }: FilePlaces) =>
    Math.min(...places.map(({ severity }) => (severity ? SEVERITIES.indexOf(severity) : 0)));
  return [...files.values()].sort((a, b) => worst(a) - worst(b) || (a.path < b.path ? -1 : 1));
}

/** The places of the home that a server has found, by file. */
export function locationFiles(locations: readonly TextLocation[]): FilePlaces[] {
  const files = new Map<string, Place[]>();
  for (const { path, in_home, range, line } of locations) {
    if (!in_home) continue;
    const places = files.get(path) ?? [];
    places.push({ range, text: line ?? "", note: "", severity: null });
    files.set(path, places);
  }
  return [...files]
    .map(([path, places]) => ({ path, places: places.sort(comparePlaces), truncated: false }))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
}

function comparePlaces(a: Place, b: Place): number {
  return a.range.start.line - b.range.start.line || a.range.start.column - b.range.start.column;
}

export interface ProblemCount {
  errors: number;
  warnings: number;
}

export function countProblems(files: readonly FilePlaces[]): ProblemCount {
  const places = files.flatMap(({ places }) => places);
  const count = (severity: string) => places.filter((place) => place.severity === severity).length;
  return { errors: count("error"), warnings: count("warning") };
}

/**
 * The problem after a place, or with -1 before it, in any file. Files follow each other by path, and the
 * last is followed by the first.
 */
export function nextProblem(
  files: readonly FilePlaces[],
  path: string | null,
  at: { line: number; column: number },
  by: 1 | -1,
): { path: string; place: Place } | null {
  const sorted = [...files].sort((a, b) => (a.path < b.path ? -1 : 1));
  const all = sorted.flatMap(({ path, places }) => places.map((place) => ({ path, place })));
  const isAfter = (one: (typeof all)[number]) => {
    if (path === null || one.path !== path) return one.path > (path ?? "");
    const { line, column } = one.place.range.start;
    return line > at.line || (line === at.line && column > at.column);
  };
  const isBefore = (one: (typeof all)[number]) => {
    if (path === null || one.path !== path) return one.path < (path ?? "");
    const { line, column } = one.place.range.start;
    return line < at.line || (line === at.line && column < at.column);
  };
  if (by === 1) return all.find(isAfter) ?? all[0] ?? null;
  return all.findLast(isBefore) ?? all.at(-1) ?? null;
}
