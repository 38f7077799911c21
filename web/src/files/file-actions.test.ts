import { describe, expect, it } from "vitest";
import { copyName, movesInto } from "./file-actions";

describe("movesInto", () => {
  it("leaves out what is there already, and folders around the target", () => {
    expect(movesInto(["a/x", "b/y", "b", "z"], "b")).toEqual([
      { from: "a/x", to: "b/x" },
      { from: "z", to: "b/z" },
    ]);
    expect(movesInto(["a/x", "z"], "")).toEqual([{ from: "a/x", to: "x" }]);
  });
});

describe("copyName", () => {
  it("keeps the extension", () => {
    expect([0, 1, 2].map((attempt) => copyName("a.b.txt", attempt))).toEqual([
      "a.b.txt",
      "a.b copy.txt",
      "a.b copy 2.txt",
    ]);
    expect([copyName(".env", 1), copyName("src", 1)]).toEqual([".env copy", "src copy"]);
  });
});
