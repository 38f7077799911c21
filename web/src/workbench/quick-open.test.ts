import { describe, expect, it } from "vitest";
import { groupFiles, parseQuery } from "./quick-open";

describe("parseQuery", () => {
  it("tells files, lines and commands apart", () => {
    expect(parseQuery(">wrap")).toEqual({ kind: "command", text: "wrap" });
    expect(parseQuery(":12")).toEqual({ kind: "line", at: { line: 12, column: 1 } });
    expect(parseQuery(":")).toEqual({ kind: "line", at: null });
    expect(parseQuery("main")).toEqual({ kind: "file", text: "main", at: null });
    expect(parseQuery("main.rs:7")).toEqual({ kind: "file", text: "main.rs", at: { line: 7, column: 1 } });
    expect(parseQuery("a:b.rs:7:3")).toEqual({ kind: "file", text: "a:b.rs", at: { line: 7, column: 3 } });
    expect(parseQuery("main.rs:")).toEqual({ kind: "file", text: "main.rs", at: null });
    expect(parseQuery("@ area")).toEqual({ kind: "symbol", text: "area" });
    expect(parseQuery("#area:1")).toEqual({ kind: "workspaceSymbol", text: "area:1" });
    expect(parseQuery(":0")).toEqual({ kind: "line", at: null });
  });
});

describe("groupFiles", () => {
  it("lists recent files first, and each file once", () => {
    expect(groupFiles(["b"], ["a", "b", "c"])).toEqual([
      { heading: "Recently opened", paths: ["b"] },
      { heading: "Other files", paths: ["a", "c"] },
    ]);
    expect(groupFiles([], ["a"])).toEqual([{ heading: "Files", paths: ["a"] }]);
    expect(groupFiles([], [])).toEqual([]);
  });
});
