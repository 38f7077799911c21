import { beforeEach, describe, expect, it, vi } from "vitest";
import type { Entry, EntryKind } from "../api/agent";
import { ApiError } from "../api/client";
import { restoreFiles, planRestore, undoRestore, type RestoreProgress } from "./restore-files";

/** Homes as maps from path to content; a directory's content is none, a link's begins with `→`. */
type Home = Map<string, string | null>;
const world = vi.hoisted(() => ({
  now: new Map() as Home,
  past: new Map() as Map<string, Home>,
  ran: [] as string[][],
  refused: "",
}));

const kindOf = (content: string | null): EntryKind =>
  content === null ? "directory" : content.startsWith("→") ? "symlink" : "file";
const refusal = (code: "precondition_failed" | "not_found" | "conflict", status: number) =>
  new ApiError({ code, detail: code }, status);

function entriesOf(home: Home, directory: string): Entry[] {
  if (directory && home.get(directory) !== null) throw refusal("not_found", 404);
  const below = directory ? `${directory}/` : "";
  return [...home].flatMap(([path, content]) => {
    const name = path.slice(below.length);
    if (!path.startsWith(below) || name.includes("/")) return [];
    const kind = kindOf(content);
    const target = kind === "symlink" ? (content ?? "").slice(1) : null;
    const etag = kind === "file" ? `tag of ${content}` : null;
    const size = content?.length ?? 0;
    return [{ name, utf8: true, kind, size, modified: 0, modified_ms: 0, mode: 0o644, target, etag }];
  });
}

vi.mock("../streams/exec", () => ({
  execProgram: (_: string, argv: string[]) => {
    world.ran.push(argv);
    if (argv[0] === "ln") world.now.set(argv.at(-1) ?? "", `→${argv.at(-2)}`);
    return Promise.resolve();
  },
}));
vi.mock("../api/endpoints", () => {
  const later = <T>(answer: () => T) => new Promise<T>((resolve) => resolve(answer()));
  const past = (snapshot: string) => world.past.get(snapshot) as Home;
  return {
    snapshotsApi: {
      listChanges: (_: string, from: string) =>
        later(() => {
          const paths = new Set([...past(from).keys(), ...world.now.keys()]);
          const all = [...paths].filter((path) => past(from).get(path) !== world.now.get(path));
          const kind = (path: string) =>
            !past(from).has(path) ? "added" : world.now.has(path) ? "changed" : "removed";
          // One that is not a directory on both sides stands for all below it.
          const isTop = (path: string) => !all.some((above) => path.startsWith(`${above}/`));
          return { truncated: false, changes: all.filter(isTop).map((path) => ({ path, kind: kind(path) })) };
        }),
      listDirectory: (_: string, snapshot: string, path: string) =>
        later(() => ({ entries: entriesOf(past(snapshot), path) })),
      getContent: (_: string, snapshot: string, path: string) =>
        later(() => ({ blob: () => Promise.resolve(past(snapshot).get(path)) })),
    },
    filesApi: {
      list: (_: string, path: string) => later(() => ({ entries: entriesOf(world.now, path) })),
      rename: (_: string, from: string, to: string) =>
        later(() => {
          for (const [path, content] of [...world.now]) {
            if (path !== from && !path.startsWith(`${from}/`)) continue;
            world.now.delete(path);
            world.now.set(to + path.slice(from.length), content);
          }
        }),
      remove: (_: string, path: string) =>
        later(() => {
          if ([...world.now.keys()].some((one) => one.startsWith(`${path}/`))) throw refusal("conflict", 409);
          world.now.delete(path);
        }),
      createDirectory: (_: string, path: string) =>
        later(() => {
          world.now.set(path, null);
          return { mode: 0o755 };
        }),
      writeContent: (_: string, path: string, content: string, etag: string | null) =>
        later(() => {
          const there = world.now.get(path);
          const tag = there === undefined ? null : `tag of ${there}`;
          if (tag !== etag || path === world.refused) throw refusal("precondition_failed", 412);
          world.now.set(path, content);
          return { mode: 0o644, etag: `tag of ${content}` };
        }),
    },
  };
});

const watch: RestoreProgress = { signal: new AbortController().signal, onProgress: () => undefined };
const look = () => planRestore("w", "then", "src", watch.signal);
const home = (all: Record<string, string | null>): Home => new Map(Object.entries(all));
const sorted = (home: Home) => [...home].sort(([one], [other]) => (one < other ? -1 : 1));

describe("restoring a folder", () => {
  const then = {
    src: null,
    "src/a": "old",
    "src/lib": null,
    "src/lib/b": "b",
    "src/link": "→a",
    "src/x": "file",
  };
  const now = { src: null, "src/a": "new", "src/made": "since", "src/x": null, "src/x/inside": "kept" };
  beforeEach(() => {
    world.past = new Map([
      ["then", home(then)],
      ["before", home(now)],
    ]);
    world.now = home(now);
    world.ran = [];
    world.refused = "";
  });

  it("keeps newer entries, and undo restores all", async () => {
    const plan = await look();
    expect(plan.actions.map(({ path, replaces }) => `${path} ${replaces}`)).toEqual([
      "src/a file",
      "src/lib nothing",
      "src/lib/b nothing",
      "src/link nothing",
      "src/x other",
    ]);
    expect(plan.newerCount).toBe(1);
    const { done, failed } = await restoreFiles("w", "then", plan, watch);
    expect(failed).toEqual([]);
    for (const [path, content] of Object.entries(then)) expect(world.now.get(path), path).toBe(content);
    expect(world.now.get("src/made")).toBe("since");
    const kept = [...world.now.keys()].find((path) => path.startsWith("src/x.before-restore-"));
    expect(world.now.get(`${kept}/inside`)).toBe("kept");
    expect((await undoRestore("w", "before", done, watch)).failed).toEqual([]);
    expect(sorted(world.now)).toEqual(sorted(home(now)));
  });

  it("compares a single file directly", async () => {
    const one = async () =>
      (await planRestore("w", "then", "src/a", watch.signal)).actions.map(({ path }) => path);
    world.now.set("src/a", "old");
    expect(await one()).toEqual([]);
    world.now.set("src/a", "older");
    expect(await one()).toEqual(["src/a"]);
    world.now.delete("src/a");
    expect(await one()).toEqual(["src/a"]);
  });

  it("creates missing parent folders", async () => {
    world.now = home({});
    const { failed } = await restoreFiles("w", "then", await look(), watch);
    expect(failed).toEqual([]);
    expect(sorted(world.now)).toEqual(sorted(home(then)));
  });

  it("keeps a file that changed after planning", async () => {
    const plan = await look();
    world.now.set("src/a", "typed during the restore");
    const { done, failed } = await restoreFiles("w", "then", plan, watch);
    expect(world.now.get("src/a")).toBe("typed during the restore");
    expect([failed.map(({ path }) => path), done.length]).toEqual([["src/a"], 4]);
    // Undo also keeps what changed.
    world.now.set("src/lib/b", "typed later");
    const back = await undoRestore("w", "before", done, watch);
    expect(world.now.get("src/lib/b")).toBe("typed later");
    expect(back.failed.map(({ path }) => path)).toEqual(["src/lib/b", "src/lib"]);
  });

  it("puts a renamed entry back on failure", async () => {
    const plan = await look();
    world.refused = "src/x";
    const { failed } = await restoreFiles("w", "then", plan, watch);
    expect(failed.map(({ path }) => path)).toEqual(["src/x"]);
    expect(world.now.get("src/x/inside")).toBe("kept");
  });

  it("stops when it is cancelled", async () => {
    const stopped = new AbortController();
    const onProgress = () => stopped.abort();
    const { done } = await restoreFiles("w", "then", await look(), {
      signal: stopped.signal,
      onProgress,
    });
    expect(done.length).toBeLessThanOrEqual(1);
  });
});
