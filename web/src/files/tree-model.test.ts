import { describe, expect, it } from "vitest";
import type { Entry, EntryKind } from "../api/agent";
import {
  findByPrefix,
  keyAction,
  visibleDirectories,
  visibleRows,
  withGaps,
  withListing,
  without,
  type Directories,
} from "./tree-model";

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

  it("forgets what was below a folder that is gone, and shows it again when it is back", () => {
    const expanded = new Set(["src", "src/lib"]);
    const deep: Directories = new Map([
      ...home,
      ["src/lib", { entries: [entry("old.rs")], truncated: false }],
    ]);
    expect(visibleDirectories(deep, expanded)).toEqual(["", "src", "src/lib"]);
    // Deleted and created again between two listings: the listing of the folder itself failed.
    expect([...without(deep, "src").keys()]).toEqual([""]);
    expect(visibleDirectories(without(deep, "src"), expanded)).toEqual(["", "src"]);
    // Deleted: the listing of its parent does not have it.
    const gone = withListing(deep, "", { entries: [entry("readme.md")], truncated: false });
    expect([...gone.keys()]).toEqual([""]);
    expect(visibleDirectories(gone, expanded)).toEqual([""]);
    // Created again: expanded as before, and empty until its own listing arrives.
    const back = withListing(gone, "", { entries: [entry("src", "directory")], truncated: false });
    expect(visibleDirectories(back, expanded)).toEqual(["", "src"]);
    expect(visibleRows(back, expanded, true)).toHaveLength(1);
  });

  it("shows only the lines in view", () => {
    expect(withGaps([0, 5, 6], 20_000)).toEqual([
      { index: 0 },
      { gap: 4, before: 5 },
      { index: 5 },
      { index: 6 },
      { gap: 19_993, before: 20_000 },
    ]);
    expect(withGaps([0, 1, 2], 2)).toEqual([{ index: 0 }, { index: 1 }]);
    expect(withGaps([], 0)).toEqual([]);
  });
});
