import { describe, expect, it } from "vitest";
import { childOf, displayName, fileNameProblem, isWithin, nameOf, parentOf, pathAfterRename } from "./paths";

describe("paths", () => {
  it("split and join", () => {
    expect([nameOf("a/b.c"), nameOf("x"), parentOf("a/b/c"), parentOf("x")]).toEqual(["b.c", "x", "a/b", ""]);
    expect([childOf("", "x"), childOf("a", "x")]).toEqual(["x", "a/x"]);
    expect([isWithin("a/b", "a"), isWithin("ab", "a"), isWithin("x", "")]).toEqual([true, false, true]);
    expect([pathAfterRename("a/b/c", "a/b", "z"), pathAfterRename("a/bc", "a/b", "z")]).toEqual([
      "z/c",
      "a/bc",
    ]);
  });

  it("display invisible characters escaped", () => {
    expect(displayName("a\nb")).toBe("a␤b");
    expect(displayName("\u202egnp.exe")).toBe("\\u{202e}gnp.exe");
    expect(displayName("grün 😀.txt")).toBe("grün 😀.txt");
  });

  it("reject names that leave the home", () => {
    for (const good of ["a", "a/b.c", "..a", "sp ace"]) expect(fileNameProblem(good)).toBe("");
    for (const bad of ["", " ", "..", "a/../b", "/a", "a/", "./a", "ü".repeat(128)])
      expect(fileNameProblem(bad)).not.toBe("");
  });
});
