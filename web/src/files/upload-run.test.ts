import { expect, test } from "vitest";
import { ApiError } from "../api/client";
import { directoriesToCreate, runUpload, summaryText, type UploadEnvironment } from "./upload-run";

interface FakeFile {
  size: number;
}

/** A home that knows only paths. */
class FakeHome implements UploadEnvironment<FakeFile> {
  readonly directories = new Set<string>([""]);
  readonly files = new Set<string>();
  readonly questions: string[] = [];
  answer: "replace" | "replace-all" | "skip" | "cancel" = "skip";
  failing = new Map<string, ApiError>();
  sending = 0;
  mostSending = 0;

  createDirectory = (path: string) => {
    if (this.directories.has(path) || this.files.has(path)) {
      return Promise.reject(new ApiError({ code: "conflict", detail: "It exists." }, 409));
    }
    const parts = path.split("/");
    parts.forEach((_, index) => this.directories.add(parts.slice(0, index + 1).join("/")));
    return Promise.resolve();
  };
  checkDirectory = (path: string) =>
    this.directories.has(path)
      ? Promise.resolve()
      : Promise.reject(new ApiError({ code: "not_found", detail: "It is a file." }, 404));
  send = async (path: string, _file: FakeFile, overwrite: boolean, onProgress: (sent: number) => void) => {
    this.sending += 1;
    this.mostSending = Math.max(this.mostSending, this.sending);
    await Promise.resolve();
    this.sending -= 1;
    onProgress(1);
    const failure = this.failing.get(path);
    if (failure) throw failure;
    const parent = path.slice(0, Math.max(0, path.lastIndexOf("/")));
    if (!this.directories.has(parent)) throw new ApiError({ code: "not_found", detail: "No parent." }, 404);
    if (this.files.has(path) && !overwrite) throw new ApiError({ code: "precondition_failed" }, 412);
    this.files.add(path);
  };
  ask = (path: string) => {
    this.questions.push(path);
    return Promise.resolve(this.answer);
  };
  onProgress = () => undefined;
}

const file = (path: string) => ({ path, file: { size: 1 } });
const upload = (
  home: FakeHome,
  directories: string[],
  paths: string[],
  signal = new AbortController().signal,
) => runUpload({ directories, files: paths.map(file), unreadable: [] }, "target", home, signal);

test("a folder arrives with its folders, empty ones included", async () => {
  const home = new FakeHome();
  home.directories.add("target");
  const directories = ["site", "site/src", "site/src/deep", "site/empty"];
  const files = ["site/index.html", "site/src/deep/a.js", "note.txt"];
  const summary = await upload(home, directories, files);
  expect([...home.files].sort()).toEqual([
    "target/note.txt",
    "target/site/index.html",
    "target/site/src/deep/a.js",
  ]);
  expect(home.directories).toContain("target/site/empty");
  expect(summaryText(summary)).toBe("3 files and 4 folders uploaded");
});

test("any number of files is uploaded, a few at a time", async () => {
  const home = new FakeHome();
  home.directories.add("target");
  const paths = Array.from({ length: 5000 }, (_, index) => `many/${index}`);
  expect(await upload(home, ["many"], paths)).toMatchObject({ files: 5000, failures: [], untried: 0 });
  expect(home.mostSending).toBe(4);
});

test("a failure is listed and the rest is uploaded", async () => {
  const home = new FakeHome();
  home.directories.add("target");
  home.failing.set("target/b", new ApiError({ code: "forbidden", detail: "Permission denied." }, 403));
  const summary = await upload(home, [], ["a", "b", "c"]);
  expect(summary.failures).toEqual([{ path: "b", reason: "Permission denied." }]);
  expect(summaryText(summary)).toBe("2 files uploaded, 1 failed");
});

test("a full home ends the upload and says how much is missing", async () => {
  const home = new FakeHome();
  home.directories.add("target");
  home.failing.set("target/0", new ApiError({ code: "disk_full", detail: "The home is full." }, 507));
  const paths = Array.from({ length: 100 }, (_, index) => String(index));
  const { files, failures, untried } = await upload(home, [], paths);
  expect(failures).toHaveLength(1);
  expect(untried).toBeGreaterThan(80);
  expect(files + failures.length + untried).toBe(100);
});

test("one answer replaces all", async () => {
  const home = new FakeHome();
  home.directories.add("target");
  for (const name of ["a", "b", "c", "d", "e"]) home.files.add(`target/${name}`);
  home.answer = "replace-all";
  expect(await upload(home, [], ["a", "b", "c", "d", "e"])).toMatchObject({ files: 5, skipped: 0 });
  expect(home.questions).toHaveLength(1);
});

test("a file in the place of a folder is reported", async () => {
  const home = new FakeHome();
  home.directories.add("target");
  home.files.add("target/empty");
  const summary = await upload(home, ["empty"], []);
  expect(summary).toMatchObject({ directories: 0, failures: [{ path: "empty", reason: "It is a file." }] });
});

test("parents are created with their deepest folder", () => {
  const plan = { directories: ["a", "a/b"], files: [file("a/b/c/f"), file("x")] };
  expect(directoriesToCreate(plan)).toEqual(["a/b/c"]);
});
