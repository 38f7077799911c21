import { describe, expect, it } from "vitest";
import { findSettings, SETTING_ROWS, wordOf } from "./setting-rows";

describe("findSettings", () => {
  it("finds every word in any order", () => {
    const found = findSettings("size terminal").flatMap(({ rows }) => rows.map(({ name }) => name));
    expect(found).toEqual(["terminalFontSize"]);
    expect(findSettings("nothing has this")).toEqual([]);
    expect(findSettings(" ").flatMap(({ rows }) => rows)).toHaveLength(SETTING_ROWS.length);
  });
});

describe("wordOf", () => {
  it("is what users call a value", () => {
    const row = (name: string) => SETTING_ROWS.find((row) => row.name === name) ?? SETTING_ROWS[0]!;
    expect(wordOf(row("theme"), "dark")).toBe("Dark");
    expect(wordOf(row("tabWidth"), 2)).toBe("2 columns");
    expect(wordOf(row("wordWrap"), true)).toBe("on");
  });
});
