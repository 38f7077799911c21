import { describe, expect, it } from "vitest";
import { hasOpenFile, parseLayout, tabsOf } from "./layout";

describe("a stored layout", () => {
  it("is checked when it is read", () => {
    const stored = {
      view: "search",
      sideWidth: 300,
      groups: [{ paths: ["a", 3, "b"], active: "gone", preview: "b" }, null],
      focusedGroup: 7,
    };
    const layout = parseLayout(JSON.stringify(stored));
    expect(layout).toMatchObject({ view: "search", sideWidth: 300, side: true });
    expect(tabsOf(layout)).toEqual({
      groups: [{ id: 0, paths: ["a", "b"], active: "a", preview: "b" }],
      focused: 0,
      closed: [],
    });
    expect(parseLayout("[")).toEqual(parseLayout(null));
    expect(tabsOf(parseLayout('{"groups":"x"}')).groups).toHaveLength(1);
  });

  it("has an open file only if a group has one", () => {
    const hasFile = (...paths: string[]) => hasOpenFile(parseLayout(JSON.stringify({ groups: [{ paths }] })));
    expect([hasFile(), hasFile("a"), hasOpenFile(parseLayout(null))]).toEqual([false, true, false]);
  });
});
