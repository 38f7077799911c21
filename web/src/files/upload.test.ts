import { expect, test } from "vitest";
import { readEntries } from "./upload";

/** A folder as browsers give it: in batches, and by callbacks. */
function folder(name: string, children: FileSystemEntry[]): FileSystemEntry {
  return {
    name,
    isDirectory: true,
    createReader: () => {
      const batches = [children.slice(0, 100), children.slice(100), []];
      return { readEntries: (done: (batch: FileSystemEntry[]) => void) => done(batches.shift() ?? []) };
    },
  } as unknown as FileSystemEntry;
}

function file(name: string): FileSystemEntry {
  return {
    name,
    isDirectory: false,
    file: (done: (file: File) => void) => done(new File(["x"], name)),
  } as unknown as FileSystemEntry;
}

test("a dropped folder is read to the bottom, beyond the first batch", async () => {
  const many = Array.from({ length: 150 }, (_, index) => file(`f${index}`));
  const plan = await readEntries([
    { entry: folder("site", [folder("empty", []), folder("src", many)]), file: null },
    { entry: file("note.txt"), file: new File(["x"], "note.txt") },
  ]);
  expect([...plan.directories].sort()).toEqual(["site", "site/empty", "site/src"]);
  expect(plan.files).toHaveLength(151);
  expect(plan.files.map(({ path }) => path)).toContain("site/src/f149");
  expect(plan.unreadable).toEqual([]);
});

test("an unreadable file is listed and the others are kept", async () => {
  const broken = {
    name: "broken",
    isDirectory: false,
    file: (_: unknown, fail: (error: Error) => void) => fail(new Error("gone")),
  } as unknown as FileSystemEntry;
  const plan = await readEntries([{ entry: folder("a", [broken, file("b")]), file: null }]);
  expect(plan.files.map(({ path }) => path)).toEqual(["a/b"]);
  expect(plan.unreadable).toEqual([{ path: "a/broken", reason: "The browser cannot read it: gone" }]);
});
