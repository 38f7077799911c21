import { describe, expect, it } from "vitest";
import type { GitStatus, StatusEntry } from "../api/agent";
import { diffTabPath, fileOfTab, parseDiffTab } from "./diff-tab";
import {
  changeGroups,
  changeRows,
  decorationsOf,
  directoryOfUrl,
  pathsOf,
  repositoryOf,
  syncAction,
  syncLabel,
} from "./git-model";

const entry = (path: string, more: Partial<StatusEntry> = {}): StatusEntry => ({
  path,
  index: "unmodified",
  worktree: "unmodified",
  is_repository: false,
  ...more,
});
const status = (entries: StatusEntry[], more: Partial<GitStatus> = {}): GitStatus => ({
  head: "0123456789",
  branch: "main",
  stashes: 0,
  truncated: false,
  entries,
  ...more,
});

describe("change groups", () => {
  it("list a partly staged file twice", () => {
    const groups = changeGroups(
      status([
        entry("a", { index: "added", worktree: "modified" }),
        entry("b", { worktree: "untracked" }),
        entry("c", { conflict: "both_modified" }),
      ]),
    );
    expect(
      groups.map(({ name, entries }) => [name, entries.map(({ path, letter }) => path + letter)]),
    ).toEqual([
      ["conflicts", ["cC"]],
      ["staged", ["aA"]],
      ["changes", ["aM"]],
      ["untracked", ["bU"]],
    ]);
    expect(changeRows(groups, new Set(["staged"])).map(({ key }) => key)).toEqual([
      "conflicts",
      "conflicts/c",
      "staged",
      "changes",
      "changes/a",
      "untracked",
      "untracked/b",
    ]);
  });

  it("name both paths of a renamed file", () => {
    const [group] = changeGroups(status([entry("new", { index: "renamed", original_path: "old" })]));
    expect(pathsOf(group?.entries ?? [])).toEqual(["new", "old"]);
  });
});

describe("decorations", () => {
  it("mark files and the folders around them", () => {
    const decorations = decorationsOf(
      "repo",
      status([
        entry("src/new", { worktree: "untracked" }),
        entry("src/a", { worktree: "modified" }),
        entry("sub/", { worktree: "untracked", is_repository: true }),
      ]),
    );
    expect([...decorations].map(([path, { letter, isFolder }]) => [path, letter, isFolder])).toEqual([
      ["repo/src/a", "M", false],
      ["repo/src", "M", true],
      ["repo/src/new", "U", false],
      ["repo/sub", "U", false],
    ]);
  });

  it("are empty without a repository", () => {
    expect(decorationsOf(null, status([entry("a", { worktree: "modified" })])).size).toBe(0);
  });
});

describe("sync", () => {
  it("depends on the upstream branch", () => {
    expect(syncAction(status([]))).toBe("publish");
    expect(syncAction(status([], { upstream: "origin/main", ahead: 0, behind: 0 }))).toBe("fetch");
    expect(syncAction(status([], { upstream: "origin/main", ahead: 0, behind: 2 }))).toBe("sync");
    expect(syncAction(status([], { branch: null }))).toBeNull();
    expect(syncLabel({ ahead: 1, behind: 2 })).toBe("↓2 ↑1");
  });
});

describe("paths", () => {
  it("belong to the innermost repository", () => {
    expect(repositoryOf("repo/sub/a", ["", "repo", "repo/sub"])).toBe("repo/sub");
    expect(repositoryOf("a", ["repo"])).toBeNull();
    expect(repositoryOf("a", [""])).toBe("");
  });

  it("of clones are named by their address", () => {
    expect(directoryOfUrl("https://host/owner/name.git/")).toBe("name");
    expect(directoryOfUrl("git@host:name")).toBe("name");
    expect(directoryOfUrl("")).toBe("");
  });

  it("of diff tabs lead back to the file", () => {
    for (const diff of [
      { repository: "", path: "a/b", staged: true },
      { repository: "x/y%", path: "a b", staged: false },
    ])
      expect(parseDiffTab(diffTabPath(diff))).toEqual(diff);
    expect(fileOfTab(diffTabPath({ repository: "x/y", path: "a", staged: false }))).toBe("x/y/a");
    expect(fileOfTab("a/b")).toBe("a/b");
    expect(parseDiffTab("diff/a")).toBeNull();
  });
});
