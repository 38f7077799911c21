import { diff } from "@codemirror/merge";
import { describe, expect, it } from "vitest";
import { applyChanges, mergeChanges, type TextChange } from "./merge-text";

const findChanges = (before: string, after: string): TextChange[] =>
  diff(before, after).map(({ fromA, toA, fromB, toB }) => ({
    from: fromA,
    to: toA,
    insert: after.slice(fromB, toB),
  }));

describe("merge of unsaved text", () => {
  const cases: [string, string, string, string, string | null][] = [
    ["the file is unchanged", "one\n", "one\ntyped\n", "one\n", "one\ntyped\n"],
    ["everything had arrived", "one\n", "one\ntyped\n", "one\ntyped\n", "one\ntyped\n"],
    ["a part had arrived", "one\n", "one\ntyped text\n", "one\ntyped", "one\ntyped text\n"],
    ["other lines were changed", "one\ntwo\nthree\n", "1\ntwo\nthree\n", "one\ntwo\n3\n", "1\ntwo\n3\n"],
    ["lines were added above", "one\ntwo\n", "one\ntwo!\n", "zero\none\ntwo\n", "zero\none\ntwo!\n"],
    ["the same line was changed", "one\n", "mine\n", "theirs\n", null],
    ["the typed-in line was deleted", "one\ntwo\nthree\n", "one\ntwo more\nthree\n", "one\nthree\n", null],
    ["nothing was typed", "one\n", "one\n", "two\n", "two\n"],
  ];
  it.each(cases)("%s", (_name, base, mine, theirs, expected) => {
    const changes = mergeChanges(base, mine, theirs, findChanges);
    expect(changes && applyChanges(theirs, changes)).toBe(expected);
  });
});
