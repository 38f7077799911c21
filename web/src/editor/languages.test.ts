import { describe, expect, it } from "vitest";
import { indentOf, languageOf } from "./languages";

describe("languages", () => {
  it("are detected by file name", () => {
    expect(languageOf("a.py")?.name).toBe("Python");
    expect(languageOf("Dockerfile")?.name).toBe("Dockerfile");
    expect(languageOf("constructor")).toBeNull();
    expect(languageOf("a.constructor")).toBeNull();
  });

  it("detect the indentation of a text", () => {
    expect(indentOf("a.js", "a\n  b\n    c\n  d")).toBe("  ");
    expect(indentOf("a.go", "a\n\tb\n\tc")).toBe("\t");
    expect(indentOf("a.py", "x = 1")).toBe("    ");
    expect(indentOf("Makefile", "")).toBe("\t");
  });
});
