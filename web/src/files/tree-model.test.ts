import { describe, expect, it } from "vitest";
import type { Entry, EntryKind } from "../api/agent";
import { FakeEnvironment } from "../streams/fake-socket";
import { FilesWatch } from "../streams/file-watcher";
import { indentOf, languageOf } from "../editor/languages";
import { childOf, fileNameProblem, isWithin, moved, nameOf, parentOf, shown } from "./paths";
import { rowsOf, seenDirectories, step, typedAhead, type Directories } from "./tree-model";

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

describe("paths", () => {
  it("are taken apart and put together", () => {
    expect([nameOf("a/b.c"), nameOf("x"), parentOf("a/b/c"), parentOf("x")]).toEqual(["b.c", "x", "a/b", ""]);
    expect([childOf("", "x"), childOf("a", "x")]).toEqual(["x", "a/x"]);
    expect([isWithin("a/b", "a"), isWithin("ab", "a"), isWithin("x", "")]).toEqual([true, false, true]);
    expect([moved("a/b/c", "a/b", "z"), moved("a/bc", "a/b", "z")]).toEqual(["z/c", "a/bc"]);
  });

  it("show what is invisible", () => {
    expect(shown("a\nb")).toBe("a␤b");
    expect(shown("\u202egnp.exe")).toBe("\\u{202e}gnp.exe");
    expect(shown("grün 😀.txt")).toBe("grün 😀.txt");
  });

  it("refuse names that lead elsewhere", () => {
    for (const good of ["a", "a/b.c", "..a", "sp ace"]) expect(fileNameProblem(good)).toBe("");
    for (const bad of ["", " ", "..", "a/../b", "/a", "a/", "./a", "ü".repeat(128)])
      expect(fileNameProblem(bad)).not.toBe("");
  });
});

describe("the tree", () => {
  it("has a row for all that is open", () => {
    const rows = rowsOf(home, new Set(["src"]), false);
    expect(rows.map((row) => [row.path, row.depth])).toEqual([
      ["src", 0],
      ["src/lib", 1],
      ["src/main.rs", 1],
      ["readme.md", 0],
    ]);
    expect(rowsOf(home, new Set(), true)).toHaveLength(3);
    expect(seenDirectories(home, new Set(["src", "gone"]))).toEqual(["", "src"]);
  });

  it("is walked by keys", () => {
    const rows = rowsOf(home, new Set(["src"]), false);
    expect(step(rows, 0, "ArrowDown")).toBe(1);
    expect(step(rows, 3, "ArrowDown")).toBe(3);
    expect(step(rows, 2, "ArrowLeft")).toBe(0);
    expect(step(rows, 0, "ArrowLeft")).toBe("close");
    expect(step(rows, 1, "ArrowRight")).toBe("open");
    expect(step(rows, 0, "x")).toBeNull();
    expect(step([], 0, "ArrowDown")).toBeNull();
    expect(typedAhead(rows, 0, "m")).toBe(2);
    expect(typedAhead(rows, 0, "q")).toBeNull();
  });
});

describe("the watch", () => {
  it("says again what it wants, and asks for everything, after a break", () => {
    const environment = new FakeEnvironment();
    const heard: (readonly string[] | null)[] = [];
    const handlers = {
      changed: (one: readonly string[] | null) => heard.push(one),
      state: () => undefined,
      lost: () => undefined,
    };
    const watch = new FilesWatch(() => "ws://x", handlers, environment);
    watch.want(["", "a"]);
    watch.start();
    environment.last.accept();
    watch.want([""]);
    environment.last.say(JSON.stringify({ directories: ["a"], all: false }));
    expect(environment.last.sent.map((one) => JSON.parse(one as string) as unknown)).toEqual([
      { type: "watch", path: "" },
      { type: "watch", path: "a" },
      { type: "unwatch", path: "a" },
    ]);
    expect(heard).toEqual([["a"]]);
    environment.last.break();
    environment.pass(60_000);
    environment.last.accept();
    expect(environment.last.sent).toHaveLength(1);
    expect(heard).toEqual([["a"], null]);
  });
});

describe("languages", () => {
  it("are known by name", () => {
    expect(languageOf("a.py")?.name).toBe("Python");
    expect(languageOf("Dockerfile")?.name).toBe("Dockerfile");
    expect(languageOf("constructor")).toBeNull();
    expect(languageOf("a.constructor")).toBeNull();
  });

  it("keep the indentation that a text has", () => {
    expect(indentOf("a.js", "a\n  b\n    c\n  d")).toBe("  ");
    expect(indentOf("a.go", "a\n\tb\n\tc")).toBe("\t");
    expect(indentOf("a.py", "x = 1")).toBe("    ");
    expect(indentOf("Makefile", "")).toBe("\t");
  });
});
