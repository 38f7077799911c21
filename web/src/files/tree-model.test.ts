import { describe, expect, it } from "vitest";
import type { Entry, EntryKind } from "../api/agent";
import { findByPrefix, keyAction, visibleDirectories, visibleRows, type Directories } from "./tree-model";

const entry = (name: string, kind: EntryKind = "file"): Entry => ({
  name,
  kind,
  utf8: true,
  size: 1,
  modified: 0,
  mode: 0o644,
});
const home: Directories = new Map([
  [
    "",
    {
      entries: [entry("src", "directory"), entry(".cache", "directory"), entry("readme.md")],
      truncated: false,
    },
  ],
  ["src", { entries: [entry("lib", "directory"), entry("main.rs")], truncated: false }],
]);

describe("file tree", () => {
  it("has a row for each visible entry", () => {
    const rows = visibleRows(home, new Set(["src"]), false);
    expect(rows.map((row) => [row.path, row.depth])).toEqual([
      ["src", 0],
      ["src/lib", 1],
      ["src/main.rs", 1],
      ["readme.md", 0],
    ]);
    expect(visibleRows(home, new Set(), true)).toHaveLength(3);
    expect(visibleDirectories(home, new Set(["src", "gone"]))).toEqual(["", "src"]);
  });

  it("moves with the arrow keys", () => {
    const rows = visibleRows(home, new Set(["src"]), false);
    expect(keyAction(rows, 0, "ArrowDown")).toBe(1);
    expect(keyAction(rows, 3, "ArrowDown")).toBe(3);
    expect(keyAction(rows, 2, "ArrowLeft")).toBe(0);
    expect(keyAction(rows, 0, "ArrowLeft")).toBe("close");
    expect(keyAction(rows, 1, "ArrowRight")).toBe("open");
    expect(keyAction(rows, 0, "x")).toBeNull();
    expect(keyAction([], 0, "ArrowDown")).toBeNull();
    expect(findByPrefix(rows, 0, "m")).toBe(2);
    expect(findByPrefix(rows, 0, "q")).toBeNull();
  });
});
