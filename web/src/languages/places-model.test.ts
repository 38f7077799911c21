import { describe, expect, it } from "vitest";
import type { Diagnostic, FileDiagnostics } from "../api/agent";
import { countProblems, locationFiles, nextProblem, placeRows, problemFiles } from "./places-model";

const diagnostic = (line: number, severity: Diagnostic["severity"]): Diagnostic => ({
  range: { start: { line, column: 1 }, end: { line, column: 2 } },
  severity,
  message: `${severity} in ${line}`,
  unnecessary: false,
  deprecated: false,
});
const file = (path: string, ...diagnostics: Diagnostic[]): FileDiagnostics => ({
  path,
  language: "python",
  diagnostics,
  truncated: false,
});

describe("references", () => {
  it("are places of the home, by file and line", () => {
    const range = (line: number) => ({ start: { line, column: 4 }, end: { line, column: 8 } });
    const files = locationFiles([
      { path: "b.py", in_home: true, range: range(3), line: "area(3)" },
      { path: "/usr/lib/x.py", in_home: false, range: range(1) },
      { path: "a.py", in_home: true, range: range(7) },
      { path: "b.py", in_home: true, range: range(1), line: "def area():" },
    ]);
    expect(files.map(({ path, places }) => [path, places.map(({ text }) => text)])).toEqual([
      ["a.py", [""]],
      ["b.py", ["def area():", "area(3)"]],
    ]);
  });
});

describe("problems", () => {
  const files = problemFiles([
    file("b.py", diagnostic(3, "warning")),
    file("c.py", diagnostic(9, "error"), diagnostic(2, "info"), diagnostic(1, "hint")),
    file("a.py", diagnostic(1, "hint")),
  ]);

  it("are ordered by what matters", () => {
    expect(files.map(({ path }) => path)).toEqual(["c.py", "b.py"]);
    expect(countProblems(files)).toEqual({ errors: 1, warnings: 1 });
    expect(placeRows(files, new Set(["b.py"])).map(({ key }) => key)).toEqual([
      "c.py",
      "c.py:0",
      "c.py:1",
      "b.py",
    ]);
  });

  it("follow each other across files", () => {
    const next = (path: string | null, line: number, by: 1 | -1) => {
      const found = nextProblem(files, path, { line, column: 1 }, by);
      return found && `${found.path}:${found.place.range.start.line}`;
    };
    expect(next("b.py", 1, 1)).toBe("b.py:3");
    expect(next("b.py", 3, 1)).toBe("c.py:2");
    expect(next("c.py", 9, 1)).toBe("b.py:3");
    expect(next("c.py", 2, -1)).toBe("b.py:3");
    expect(next("a.py", 1, -1)).toBe("c.py:9");
    expect(next(null, 1, 1)).toBe("b.py:3");
    expect(nextProblem([], "a.py", { line: 1, column: 0 }, 1)).toBeNull();
  });
});
