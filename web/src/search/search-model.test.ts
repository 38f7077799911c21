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

interface Edit {
  line: number;
  column: number;
  old: string;
  new: string;
}

/** Applies edits as the agent does. What is not there, or overlaps the edit before it, is missed. */
function applyEdits(text: string, edits: Edit[]): { text: string; missed: number } {
  const lines = text.split("\n");
  let missed = 0;
  const ends = new Map<number, number>();
  const found = [...edits]
    .sort((a, b) => a.line - b.line || a.column - b.column)
    .filter((edit) => {
      const line = lines[edit.line - 1] ?? "";
      const isThere = edit.column <= line.length && line.startsWith(edit.old, edit.column);
      const isFree = edit.column >= (ends.get(edit.line) ?? 0);
      if (isThere && isFree) ends.set(edit.line, edit.column + edit.old.length);
      else missed += 1;
      return isThere && isFree;
    });
  for (const edit of found.reverse()) {
    const line = lines[edit.line - 1] ?? "";
    lines[edit.line - 1] = line.slice(0, edit.column) + edit.new + line.slice(edit.column + edit.old.length);
  }
  return { text: lines.join("\n"), missed };
}

function apply(text: string, edits: Edit[]): string {
  const applied = applyEdits(text, edits);
  expect(applied.missed).toBe(0);
  return applied.text;
}

/** The matches of a pattern in a text. */
function find(text: string, pattern: RegExp, replacement: (found: string) => string): TextMatch[] {
  return text.split("\n").flatMap((line, index) =>
    [...line.matchAll(pattern)].map((found) => ({
      ...match(index + 1, found.index, found[0], replacement(found[0])),
      before: line.slice(0, found.index),
      after: line.slice(found.index + found[0].length),
    })),
  );
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
    { ...match(1, 8, "one", ""), before: "one two " },
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

  it.each([
    ["a-b\nxab", /a/g],
    ["one,one", /one/g],
    ["xabcy abc a", /[abc]/g],
    ["😀a😀a", /a/g],
    ["a1b2ab", /[ab]/g],
    ["ab", /[ab]/g],
  ])("that delete in %j are undone", (before, pattern) => {
    // The other letters are deleted too, or replaced by longer text.
    for (const other of ["", "long"]) {
      const edits = replacementEdits(
        find(before, pattern, (found) => (found === "b" || found === "c" ? other : "")),
      );
      const undo = inverseEdits(edits, []);
      expect(apply(apply(before, edits), undo)).toBe(before);
      // Undo is undone too.
      expect(apply(before, inverseEdits(undo, []))).toBe(apply(before, edits));
    }
  });

  it("that deleted are not undone in a changed line", () => {
    const edits = replacementEdits(find("let mut x\nmut y", /mut /g, () => ""));
    const undo = inverseEdits(edits, []);
    expect(applyEdits("function\nlonger", undo)).toEqual({ text: "function\nlonger", missed: 2 });
    expect(apply("let x\ny", undo)).toBe("let mut x\nmut y");
  });
});
