import { describe, expect, it } from "vitest";
import { hasMixedLineEndings, lineEndingChanges, withLineEndingsOf } from "./line-endings";

describe("line endings", () => {
  it("of pasted text become those of the text", () => {
    for (const [text, pasted, expected] of [
      ["one\ntwo\n", "#!/bin/sh\r\necho\r\n", "#!/bin/sh\necho\n"],
      ["", "a\r\nb\rc\n", "a\nb\nc\n"],
      ["one\r\ntwo\r\nthree\n", "a\nb\r\n", "a\r\nb\r\n"],
      ["one\r\ntwo\nthree\n", "a\r\n", "a\n"],
    ] as const)
      expect(withLineEndingsOf(text, pasted)).toBe(expected);
  });

  it("are mixed if there is a carriage return", () => {
    expect(hasMixedLineEndings("a\nb\n")).toBe(false);
    expect(hasMixedLineEndings("a\r\nb\n")).toBe(true);
    expect(lineEndingChanges("a\rb\r\nc\n")).toEqual([
      { at: 3, insert: "" },
      { at: 1, insert: "\n" },
    ]);
    expect(lineEndingChanges("a\n")).toEqual([]);
  });
});
