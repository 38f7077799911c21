import { describe, expect, it } from "vitest";
import type { SearchEvent, TextMatch } from "../api/agent";
import {
  addEvents,
  areResultsPending,
  inverseEdits,
  NO_RESULTS,
  noticeOf,
  replacementEdits,
  resultRows,
  summaryOf,
  withoutMatch,
} from "./search-model";

const match = (line: number, column: number, text: string, replacement?: string): TextMatch => ({
  line,
  column,
  length: text.length,
  before: "",
  text,
  after: "",
  ...(replacement === undefined ? {} : { replacement }),
});
const events: SearchEvent[] = [
  { type: "file", path: "b", matches: [match(1, 0, "x")] },
  { type: "file", path: "a", matches: [match(2, 3, "x")] },
  { type: "file", path: "b", matches: [match(7, 1, "x")] },
];

/** Applies edits as the agent does. */
function apply(text: string, edits: { line: number; column: number; old: string; new: string }[]): string {
  const lines = text.split("\n");
  for (const edit of [...edits].sort((a, b) => b.column - a.column)) {
    const line = lines[edit.line - 1] ?? "";
    expect(line.slice(edit.column, edit.column + edit.old.length)).toBe(edit.old);
    lines[edit.line - 1] = line.slice(0, edit.column) + edit.new + line.slice(edit.column + edit.old.length);
  }
  return lines.join("\n");
}

describe("search results", () => {
  it("are sorted by file as they arrive", () => {
    const results = addEvents(addEvents(NO_RESULTS, events.slice(0, 2)), events.slice(2));
    expect(results.files.map(({ path, matches }) => [path, matches.length])).toEqual([
      ["a", 1],
      ["b", 2],
    ]);
    expect(summaryOf(results)).toBe("3 results in 2 files…");
    const finished = addEvents(results, [{ type: "finished", files: 9, truncated: true, skipped: 1 }]);
    expect(summaryOf(finished)).toBe("3 results in 2 files");
    expect(noticeOf(finished)).toContain("10,000 results");
    expect(noticeOf(finished)).toContain("1 file was not searched");
    expect(
      summaryOf(addEvents(NO_RESULTS, [{ type: "finished", files: 9, truncated: false, skipped: 0 }])),
    ).toBe("No results");
  });

  it("are pending until their own search has ended", () => {
    const [before, request] = [{}, {}];
    expect(areResultsPending({ request: null, isRunning: false }, request)).toBe(true);
    expect(areResultsPending({ request: before, isRunning: false }, request)).toBe(true);
    expect(areResultsPending({ request, isRunning: true }, request)).toBe(true);
    expect(areResultsPending({ request, isRunning: false }, request)).toBe(false);
  });

  it("are rows that collapse and can be dismissed", () => {
    const results = addEvents(NO_RESULTS, events);
    expect(resultRows(results, new Set(["b"])).map(({ key }) => key)).toEqual(["a", "a:2:3", "b"]);
    const first = results.files[1]?.matches[0] ?? null;
    expect(withoutMatch(results, "b", first).matches).toBe(2);
    expect(withoutMatch(results, "a", null).files.map(({ path }) => path)).toEqual(["b"]);
    expect(withoutMatch(withoutMatch(results, "b", null), "a", null).files).toEqual([]);
  });
});

describe("replacements", () => {
  const text = "one two one\none";
  const matches = [
    match(1, 0, "one", "three"),
    match(1, 8, "one", ""),
    match(2, 0, "one", "1"),
    match(3, 0, "x"),
  ];

  it("are edits that can be undone", () => {
    const edits = replacementEdits(matches);
    expect(edits).toHaveLength(3);
    const changed = apply(text, edits);
    expect(changed).toBe("three two \n1");
    expect(apply(changed, inverseEdits(edits, []))).toBe(text);
  });

  it("that were missed are not undone", () => {
    const edits = replacementEdits(matches);
    const changed = apply(text, edits.slice(1));
    expect(apply(changed, inverseEdits(edits, [0]))).toBe(text);
  });
});
