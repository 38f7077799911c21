import { describe, expect, it } from "vitest";
import type { EntryKind } from "../api/agent";
import { actedRows, NO_SELECTION, selectOnly, selectRange, toggleSelected } from "./selection";
import type { TreeRow } from "./tree-model";

const row = (path: string, kind: EntryKind = "file", utf8 = true): TreeRow => ({
  path,
  entry: { name: path, kind, utf8, size: 0, modified: 0, mode: 0 },
  depth: 0,
  expanded: false,
  position: 1,
  siblings: 1,
});
const rows = [row("d", "directory"), row("d/a"), row("e"), row("f", "file", false), row("g")];
const paths = (found: TreeRow[]) => found.map(({ path }) => path);

describe("selection", () => {
  it("grows by single rows and by ranges", () => {
    const two = toggleSelected(selectOnly("e"), "g");
    expect([...two.paths]).toEqual(["e", "g"]);
    expect([...toggleSelected(two, "e").paths]).toEqual(["g"]);
    expect([...selectRange(two, "d/a", rows).paths]).toEqual(["d/a", "e", "f", "g"]);
    expect(selectRange(selectRange(two, "d/a", rows), "f", rows).anchor).toBe("g");
    expect([...selectRange(NO_SELECTION, "e", rows).paths]).toEqual(["e"]);
  });

  it("is what actions are about, if the row is in it", () => {
    const all = selectRange(selectOnly("d"), "g", rows);
    expect(paths(actedRows(all, rows[2] as TreeRow, rows))).toEqual(["d", "e", "g"]);
    expect(paths(actedRows(selectOnly("d"), rows[2] as TreeRow, rows))).toEqual(["e"]);
    expect(paths(actedRows(NO_SELECTION, rows[3] as TreeRow, rows))).toEqual([]);
  });
});
