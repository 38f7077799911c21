import { describe, expect, it } from "vitest";
import { findFileReferences, homePaths } from "./file-links";

const found = (text: string) =>
  findFileReferences(text).map(({ path, line, column }) => `${path}@${line}:${column}`);

describe("file references", () => {
  it("finds what compilers and tools print", () => {
    const cases: [string, string[]][] = [
      ["  --> src/main.rs:12:5", ["src/main.rs@12:5"]],
      ["thread 'main' panicked at src/lib.rs:3:9:", ["src/lib.rs@3:9"]],
      ['  File "/home/dev/a b/run.py", line 7, in <module>', ["/home/dev/a b/run.py@7:1"]],
      ["src/app.ts(3,15): error TS2322: Type", ["src/app.ts@3:15"]],
      ["src/app.ts:3:15 - error TS2322: Type", ["src/app.ts@3:15"]],
      ["main.c:4:10: fatal error: missing.h: No such file", ["main.c@4:10", "missing.h@1:1"]],
      ["lib/util.py:30:def main():", ["lib/util.py@30:1"]],
      ["    at run (/home/dev/app.js:10:3)", ["/home/dev/app.js@10:3"]],
      ["    at file:///home/dev/app.mjs:10:3", ["/home/dev/app.mjs@10:3"]],
      ["--- a/src/old.c", ["a/src/old.c@1:1"]],
      ["Makefile:3: *** missing separator", ["Makefile@3:1"]],
      ["see ~/notes.md.", ["~/notes.md@1:1"]],
    ];
    for (const [line, expected] of cases) expect(found(line), line).toEqual(expected);
  });

  it("takes neither words nor addresses for files", () => {
    for (const line of [
      "Hello world 12:30 1.5 3.14.15",
      "https://example.org/a/b.ts",
      "--- *** ... /",
      "error: could not compile",
      `${"x/".repeat(1500)}`,
    ])
      expect(found(line), line).toEqual([]);
  });

  it("bounds the links of a line", () => {
    expect(findFileReferences("a/b ".repeat(400)).length).toBe(20);
  });

  it("resolves paths into the home only", () => {
    const resolve = (path: string) => homePaths(path, "/home/dev/app", "/home/dev");
    expect(resolve("src/a.rs")).toEqual(["app/src/a.rs"]);
    expect(resolve("../b.rs")).toEqual(["b.rs"]);
    expect(resolve("~/c.rs")).toEqual(["c.rs"]);
    expect(resolve("/home/dev/d.rs")).toEqual(["d.rs"]);
    expect(resolve("a/src/x.c")).toEqual(["app/a/src/x.c", "app/src/x.c"]);
    for (const outside of ["/usr/include/stdio.h", "../../../etc/passwd", "/home/developer/x"])
      expect(resolve(outside), outside).toEqual([]);
  });
});
