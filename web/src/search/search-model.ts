// The results of a search, and the edits that replace them. Pure.
import type { LineEdit, SearchEvent, TextMatch } from "../api/agent";

export interface FileMatches {
  path: string;
  matches: readonly TextMatch[];
}

export interface SearchResults {
  /** By path. */
  files: readonly FileMatches[];
  matches: number;
  /** Null while the search runs. */
  end: { files: number; truncated: boolean; skipped: number } | null;
}

export const NO_RESULTS: SearchResults = { files: [], matches: 0, end: null };

/** The search that the results on the page are of. */
export interface ShownSearch {
  /** What was searched for. Null: nothing yet. */
  request: object | null;
  isRunning: boolean;
}

/** Whether results of `request` are still to come. Until they do, those of the request before are shown. */
export const areResultsPending = (shown: ShownSearch, request: object): boolean =>
  shown.request !== request || shown.isRunning;

/** `results` with the events that have arrived since. Files come in no order. */
export function addEvents(results: SearchResults, events: readonly SearchEvent[]): SearchResults {
  const files = new Map(results.files.map((file) => [file.path, file]));
  let { matches, end } = results;
  for (const event of events) {
    if (event.type === "finished") {
      end = { files: event.files, truncated: event.truncated, skipped: event.skipped };
      continue;
    }
    const known = files.get(event.path)?.matches ?? [];
    files.set(event.path, { path: event.path, matches: [...known, ...event.matches] });
    matches += event.matches.length;
  }
  const sorted = [...files.values()].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  return { files: sorted, matches, end };
}

/** `results` without a match, or without a file. */
export function withoutMatch(results: SearchResults, path: string, match: TextMatch | null): SearchResults {
  const files = results.files.flatMap((file) => {
    if (file.path !== path) return [file];
    const matches = match === null ? [] : file.matches.filter((other) => other !== match);
    return matches.length > 0 ? [{ path, matches }] : [];
  });
  const count = files.reduce((sum, file) => sum + file.matches.length, 0);
  return { ...results, files, matches: count };
}

/** A line of the tree of results: a file, or a match in it. */
export interface ResultRow {
  key: string;
  path: string;
  /** Null for the file itself. */
  match: TextMatch | null;
  count: number;
  isExpanded: boolean;
}

export function resultRows(results: SearchResults, collapsed: ReadonlySet<string>): ResultRow[] {
  return results.files.flatMap(({ path, matches }) => {
    const isExpanded = !collapsed.has(path);
    const file: ResultRow = { key: path, path, match: null, count: matches.length, isExpanded };
    if (!isExpanded) return [file];
    const below = matches.map((match) => ({
      key: `${path}:${match.line}:${match.column}`,
      path,
      match,
      count: 0,
      isExpanded: false,
    }));
    return [file, ...below];
  });
}

/** "12 results in 3 files", as far as the search has come. */
export function summaryOf({ files, matches, end }: SearchResults): string {
  if (matches === 0) return end ? "No results" : "Searching…";
  const counted = (count: number, one: string) =>
    `${count.toLocaleString("en")} ${count === 1 ? one : `${one}s`}`;
  return `${counted(matches, "result")} in ${counted(files.length, "file")}${end ? "" : "…"}`;
}

/** What the user should know about a search that has ended. Empty: nothing. */
export function noticeOf({ end }: SearchResults): string {
  const facts: string[] = [];
  if (end?.truncated) facts.push("Only the first 10,000 results are shown. Narrow the search to see all.");
  if (end && end.skipped > 0) {
    const files = end.skipped === 1 ? "1 file was" : `${end.skipped.toLocaleString("en")} files were`;
    facts.push(`${files} not searched: no permission, or lines that are too long.`);
  }
  return facts.join(" ");
}

/** An edit of a match. */
export interface MatchEdit extends LineEdit {
  /** The characters beside the match. Empty at the ends of a line. */
  before: string;
  after: string;
}

/** The edits that replace matches. Those that are too long to show are left out. */
export function replacementEdits(matches: readonly TextMatch[]): MatchEdit[] {
  return matches.flatMap(({ line, column, before, text, after, replacement }) =>
    replacement === undefined || replacement === null
      ? []
      : [
          {
            line,
            column,
            old: text,
            new: replacement,
            before: Array.from(before).at(-1) ?? "",
            after: Array.from(after)[0] ?? "",
          },
        ],
  );
}

/**
 * The edits that undo `edits`, except those that were missed: their indexes.
 *
 * A deletion leaves no text that the agent could compare before it inserts. Its inverse therefore includes a
 * character beside the match, and deletions that share that character or touch are joined. Only a line that
 * has become empty has no such character.
 */
export function inverseEdits(edits: readonly MatchEdit[], missed: readonly number[]): MatchEdit[] {
  const applied = edits.filter((_, index) => !missed.includes(index));
  const sorted = [...applied].sort((a, b) => a.line - b.line || a.column - b.column);
  const inverses: MatchEdit[] = [];
  let line = 0;
  let shift = 0;
  for (const edit of joinDeletions(sorted)) {
    if (edit.line !== line) [line, shift] = [edit.line, 0];
    const inverse = {
      line,
      column: edit.column + shift,
      old: edit.new,
      new: edit.old,
      before: "",
      after: "",
    };
    shift += edit.new.length - edit.old.length;
    const previous = inverses.at(-1);
    const isTouching = previous !== undefined && touches(previous, inverse);
    if (inverse.old !== "") inverses.push(inverse);
    // The character between them is part of the inverse before.
    else if (isTouching) previous.new += inverse.new;
    else inverses.push(withNeighbour(inverse, edit));
  }
  return inverses;
}

/** Joins deletions with the edits that they touch. */
function joinDeletions(sorted: readonly MatchEdit[]): MatchEdit[] {
  const joined: MatchEdit[] = [];
  for (const edit of sorted) {
    const previous = joined.at(-1);
    if (!previous || !touches(previous, edit) || (previous.new !== "" && edit.new !== "")) {
      joined.push({ ...edit });
      continue;
    }
    previous.old += edit.old;
    previous.new += edit.new;
    previous.after = edit.after;
  }
  return joined;
}

const touches = (edit: LineEdit, next: LineEdit): boolean =>
  edit.line === next.line && edit.column + edit.old.length === next.column;

/** `inverse` with the character before the match in both texts, or the one after at the start of a line. */
function withNeighbour(inverse: MatchEdit, { before, after }: MatchEdit): MatchEdit {
  const column = inverse.column - before.length;
  if (before !== "") return { ...inverse, column, old: before, new: before + inverse.new };
  return { ...inverse, old: after, new: inverse.new + after };
}
