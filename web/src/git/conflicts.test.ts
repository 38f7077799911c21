import { Text } from "@codemirror/state";
import { describe, expect, it } from "vitest";
import { findConflicts, resolvedText } from "./conflicts";

const text = (...lines: string[]) => Text.of(lines);

describe("findConflicts", () => {
  it("finds both sides, also with the common version", () => {
    const doc = text(
      ...["a", "<<<<<<< HEAD", "ours", "=======", "theirs", ">>>>>>> other", "b"],
      ...["<<<<<<< HEAD\r", "1\r", "||||||| base\r", "0\r", "=======\r", "2\r", ">>>>>>> other\r", ""],
    );
    const [first, second] = findConflicts(doc);
    if (!first || !second) throw new Error("two conflicts");
    expect(resolvedText(doc, first, "ours")).toBe("ours\n");
    expect(resolvedText(doc, first, "theirs")).toBe("theirs\n");
    expect(resolvedText(doc, first, "both")).toBe("ours\ntheirs\n");
    expect(resolvedText(doc, second, "both")).toBe("1\r\n2\r\n");
    expect(doc.sliceString(first.to, second.from)).toBe("b\n");
  });

  it("leaves out what is no whole conflict", () => {
    expect(findConflicts(text("=======", ">>>>>>> x"))).toEqual([]);
    expect(findConflicts(text("<<<<<<< x", "a", ">>>>>>> x"))).toEqual([]);
    expect(findConflicts(text("<<<<<<<< x", "=======", ">>>>>>> x"))).toEqual([]);
  });

  it("accepts a side without lines", () => {
    const doc = text("<<<<<<< a", "=======", "b", ">>>>>>> b");
    const [conflict] = findConflicts(doc);
    expect(conflict && resolvedText(doc, conflict, "ours")).toBe("");
  });
});
