import { describe, expect, it } from "vitest";
import { preferencesFrom, settingName } from "./preferences-sync";

describe("preferencesFrom", () => {
  it("takes what is set and valid", () => {
    const settings = { editor_font_size: 15, theme: "dark", word_wrap: null, tab_width: 99, other: 1 };
    expect(preferencesFrom(settings as never)).toEqual({ editorFontSize: 15, theme: "dark" });
  });
});

describe("settingName", () => {
  it("is the name in the API", () => {
    expect(settingName("editorFontSize")).toBe("editor_font_size");
    expect(settingName("theme")).toBe("theme");
  });
});
