import { describe, expect, it } from "vitest";
import {
  activateTab,
  closeTabs,
  focusedGroup,
  focusGroup,
  keepTab,
  MAX_TABS,
  moveTab,
  openPaths,
  openTab,
  removeFromTabs,
  renameInTabs,
  reopenTab,
  restoreTabs,
  splitGroup,
  type Tabs,
} from "./tab-model";

const tabs = (...paths: string[]): Tabs =>
  restoreTabs([{ paths, active: paths.at(-1) ?? null, preview: null }], 0);
const shape = ({ groups, focused }: Tabs) => [
  ...groups.map(({ paths, active }) => paths.map((path) => (path === active ? `[${path}]` : path)).join(" ")),
  focused,
];

describe("tabs", () => {
  it("open beside the active one, and once", () => {
    const opened = openTab(activateTab(tabs("a", "b"), 0, "a"), "c", false);
    expect(shape(opened)).toEqual(["a [c] b", 0]);
    expect(shape(openTab(opened, "b", false))).toEqual(["a c [b]", 0]);
    const many = Array.from({ length: MAX_TABS }, (_, at) => `f${at}`);
    const group = focusedGroup(openTab(tabs(...many), "new", false));
    expect(group.paths).toHaveLength(MAX_TABS);
    expect(group.paths).not.toContain("f0");
  });

  it("use one preview tab until a file is kept", () => {
    const seen = openTab(openTab(tabs("a"), "b", true), "c", true);
    expect(shape(seen)).toEqual(["a [c]", 0]);
    expect(focusedGroup(seen).preview).toBe("c");
    const kept = openTab(keepTab(seen, "c"), "d", true);
    expect(shape(kept)).toEqual(["a c [d]", 0]);
    expect(focusedGroup(openTab(kept, "d", false)).preview).toBeNull();
  });

  it("closed last are opened again", () => {
    const closed = closeTabs(tabs("a", "b", "c"), (path) => path !== "b");
    expect(shape(closed)).toEqual(["[b]", 0]);
    expect(shape(reopenTab(closed))).toEqual(["b [c]", 0]);
    expect(shape(reopenTab(reopenTab(closed)))).toEqual(["b c [a]", 0]);
    expect(removeFromTabs(tabs("d/x", "e"), "d").closed).toEqual([]);
    expect(shape(closeTabs(tabs("a"), () => true))).toEqual(["", 0]);
  });

  it("split into groups that end with their last tab", () => {
    const split = splitGroup(tabs("a", "b"));
    expect(shape(split)).toEqual(["a [b]", "[b]", 1]);
    expect(openPaths(split)).toEqual(["a", "b"]);
    const moved = moveTab(split, "a", 0, 1, "b");
    expect(shape(moved)).toEqual(["[b]", "[a] b", 1]);
    expect(shape(closeTabs(moved, (path, group) => group === 0 && path === "b"))).toEqual(["[a] b", 0]);
    expect(shape(moveTab(moved, "b", 0, 1, null))).toEqual(["a [b]", 0]);
    expect(shape(splitGroup(tabs()))).toEqual(["", 0]);
  });

  it("stay in the group with their id", () => {
    const ids = (tabs: Tabs) => tabs.groups.map(({ id }) => id);
    const two = splitGroup(tabs("a", "b"));
    expect(ids(two)).toEqual([0, 1]);
    expect(ids(splitGroup(focusGroup(two, 0)))).toEqual([0, 2, 1]);
    const right = closeTabs(two, (_, group) => group === 0);
    expect(ids(right)).toEqual([1]);
    const changed = renameInTabs(openTab(openTab(right, "c", true), "d", true), "d", "e");
    expect(ids(closeTabs(changed, (path) => path === "e"))).toEqual([1]);
    expect(ids(moveTab(changed, "b", 0, 1, null))).toEqual([1, 2]);
    expect(ids(moveTab(two, "a", 0, 1, null))).toEqual([0, 1]);
  });

  it("move within a group and to a new one", () => {
    expect(shape(moveTab(tabs("a", "b", "c"), "c", 0, 0, "a"))).toEqual(["[c] a b", 0]);
    expect(shape(moveTab(tabs("a", "b"), "a", 0, 1, null))).toEqual(["[b]", "[a]", 1]);
    expect(shape(moveTab(tabs("a"), "a", 0, 1, null))).toEqual(["[a]", 0]);
  });

  it("follow renames", () => {
    const renamed = renameInTabs(splitGroup(tabs("d/a", "b")), "d", "e");
    expect(shape(renamed)).toEqual(["e/a [b]", "[b]", 1]);
  });
});
