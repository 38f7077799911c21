import { Text } from "@codemirror/state";
import { describe, expect, it } from "vitest";
import { lineEndsOf } from "./trim";

describe("lineEndsOf", () => {
  it("finds spaces and tabs before the end of a line and its carriage return", () => {
    expect(lineEndsOf(Text.of(["a", "b \t", "  ", "\tc  \r", ""]))).toEqual([
      { from: 3, to: 5 },
      { from: 6, to: 8 },
      { from: 11, to: 13 },
    ]);
  });
});
