// Restores files of a snapshot to the running home through its agent, and undoes that. Knows no page.
import type { Entry } from "../api/agent";
import { filesApi, snapshotsApi } from "../api/endpoints";
import { ApiError, errorMessage } from "../api/client";
import type { SnapshotEntry } from "../api/types";
import { execProgram } from "../streams/exec";
import { ancestorsOf, childOf, nameOf, parentOf } from "../files/paths";
import {
  planPath,
  isUnchanged,
  keptName,
  PERMISSION_BITS,
  planOf,
  type RestoreAction,
  type RestorePlan,
} from "./restore-plan";

/** Limit of paths in one restore. For more, the CLI or a restore of the whole home is the better tool. */
export const MAX_PATHS = 10_000;
const MAX_CONCURRENT_FILES = 4;
/** Paths in one chmod, far below the kernel's limit for arguments. */
const MAX_PATHS_PER_CHMOD = 200;
/** Problem codes after which every other file would fail too. */
const FATAL_CODES = [
  "unauthenticated",
  "unavailable",
  "unreachable",
  "not_running",
  "disk_full",
  "quota_exceeded",
];

export class TooManyPaths extends Error {
  constructor() {
    super(`More than ${MAX_PATHS.toLocaleString("en")} paths differ, which is too many for one restore.`);
  }
}

/** What was done to one path, for undo. */
export interface RestoredPath {
  action: RestoreAction;
  /** Where the replaced entry is now, if it was renamed. */
  keptPath: string | null;
  /** Of the written file. */
  etag: string | null;
}

export interface FailedPath {
  path: string;
  message: string;
}

export interface Outcome {
  done: readonly RestoredPath[];
  failed: readonly FailedPath[];
}

export interface RestoreProgress {
  signal: AbortSignal;
  onProgress: (path: string, done: number) => void;
}

/** Calls `ask` once for each key. */
function memoize<T>(ask: (key: string) => Promise<T>): (key: string) => Promise<T> {
  const known = new Map<string, Promise<T>>();
  return (key) => {
    const old = known.get(key);
    if (old) return old;
    const pending = ask(key);
    known.set(key, pending);
    return pending;
  };
}

type Entries<T> = ReadonlyMap<string, T>;
const byName = <T extends { name: string }>(entries: readonly T[]): Entries<T> =>
  new Map(entries.map((entry) => [entry.name, entry]));

/** Compares a path of a snapshot with the home now. A folder is compared with the newest snapshot. */
export async function planRestore(
  workspace: string,
  snapshot: string,
  path: string,
  signal: AbortSignal,
): Promise<RestorePlan> {
  const pastIn = memoize(async (directory): Promise<Entries<SnapshotEntry>> =>
    byName((await snapshotsApi.listDirectory(workspace, snapshot, directory, signal)).entries),
  );
  const presentIn = memoize(async (directory): Promise<Entries<Entry>> => {
    if (directory !== "") {
      const above = await presentIn(parentOf(directory));
      if (above.get(nameOf(directory))?.kind !== "directory") return new Map();
    }
    return byName((await filesApi.list(workspace, directory, signal)).entries);
  });
  const runAll: ReturnType<typeof planPath>[] = [];
  const add = async (path: string, past: SnapshotEntry) => {
    if (runAll.length >= MAX_PATHS) throw new TooManyPaths();
    const present = (await presentIn(parentOf(path))).get(nameOf(path));
    runAll.push(planPath(path, past, present));
    // If both sides have a directory, its changed paths are in the list themselves.
    if (past.kind !== "directory" || present?.kind === "directory") return;
    for (const entry of (await pastIn(path)).values()) await add(childOf(path, entry.name), entry);
  };
  // The directories above may have been deleted too.
  for (const above of ancestorsOf(path)) {
    const past = (await pastIn(parentOf(above))).get(nameOf(above));
    if (past) runAll.push(planPath(above, past, (await presentIn(parentOf(above))).get(nameOf(above))));
  }
  // One file is compared directly. A folder is compared with the newest snapshot, which is a few seconds old.
  const root = (await pastIn(parentOf(path))).get(nameOf(path));
  if (root && root.kind !== "directory") {
    const present = (await presentIn(parentOf(path))).get(nameOf(path));
    if (!present || !isUnchanged(root, present)) runAll.push(planPath(path, root, present));
    return planOf(runAll, 0);
  }
  const { changes, truncated } = await snapshotsApi.listChanges(workspace, snapshot, null, signal, path);
  if (truncated) throw new TooManyPaths();
  const gone = changes.filter((change) => change.kind !== "added");
  for (const { path } of gone) {
    const past = (await pastIn(parentOf(path))).get(nameOf(path));
    if (past) await add(path, past);
  }
  return planOf(runAll, changes.length - gone.length);
}

/**
 * Carries out a plan. A path that fails is reported and the others continue, unless the failure is
 * fatal for all.
 */
export async function restoreFiles(
  workspace: string,
  snapshot: string,
  { actions }: RestorePlan,
  watch: RestoreProgress,
): Promise<Outcome> {
  const modes = new ModeChanges(workspace);
  const now = new Date();
  const one = async (action: RestoreAction): Promise<RestoredPath> => {
    const keptPath = action.replaces === "other" ? keptName(action.path, now) : null;
    if (keptPath !== null) await filesApi.rename(workspace, action.path, keptPath);
    try {
      const made = await write(workspace, snapshot, action, watch.signal);
      if (made)
        modes.add(
          action.path,
          action.entry.mode | (action.entry.kind === "directory" ? 0o700 : 0),
          made.mode,
        );
      return { action, keptPath, etag: made?.etag ?? null };
    } catch (error) {
      // Put the replaced entry back rather than leave nothing.
      if (keptPath !== null) await filesApi.rename(workspace, keptPath, action.path);
      throw error;
    }
  };
  const directories = actions.filter(({ entry }) => entry.kind === "directory");
  const others = actions.filter(({ entry }) => entry.kind !== "directory");
  const work = new WorkQueue<RestoreAction, RestoredPath>(one, (action) => action.path, watch);
  await work.all(directories, 1);
  await work.all(others, MAX_CONCURRENT_FILES);
  return { done: await modes.apply(work.done), failed: [...work.failed, ...modes.failed] };
}

async function write(
  workspace: string,
  snapshot: string,
  { path, entry, etag }: RestoreAction,
  signal: AbortSignal,
): Promise<Entry | null> {
  switch (entry.kind) {
    case "directory":
      return filesApi.createDirectory(workspace, path);
    case "symlink":
      await execProgram(workspace, ["ln", "-s", "-n", "--", entry.target ?? "", path]);
      return null;
    case "file": {
      const content = await (await snapshotsApi.getContent(workspace, snapshot, path, signal)).blob();
      return filesApi.writeContent(workspace, path, content, etag, signal);
    }
    case "other":
      throw new Error("Sockets, pipes and devices cannot be restored.");
  }
}

/**
 * Undoes `done`: replaced files get their content from `before`, created paths are deleted. What
 * changed since then is kept.
 */
export async function undoRestore(
  workspace: string,
  before: string,
  done: readonly RestoredPath[],
  watch: RestoreProgress,
): Promise<Outcome> {
  const presentIn = memoize(async (directory) => byName((await filesApi.list(workspace, directory)).entries));
  const modes = new ModeChanges(workspace);
  const one = async (was: RestoredPath): Promise<RestoredPath> => {
    const { action, keptPath, etag } = was;
    const { path } = action;
    if (action.replaces === "file") {
      const content = await (await snapshotsApi.getContent(workspace, before, path, watch.signal)).blob();
      const made = await filesApi.writeContent(workspace, path, content, etag, watch.signal);
      modes.add(path, action.mode, made.mode);
      return was;
    }
    const present = (await presentIn(parentOf(path))).get(nameOf(path));
    if (present && etag !== null && present.etag !== etag)
      throw new Error("It was changed since then, and is kept.");
    if (present) await filesApi.remove(workspace, path, false);
    if (keptPath !== null) await filesApi.rename(workspace, keptPath, path);
    return was;
  };
  const work = new WorkQueue<RestoredPath, RestoredPath>(one, ({ action }) => action.path, watch);
  const isDirectory = ({ action }: RestoredPath) => action.entry.kind === "directory";
  await work.all(
    done.filter((was) => !isDirectory(was)),
    MAX_CONCURRENT_FILES,
  );
  // Children before their parents.
  await work.all([...done].filter(isDirectory).reverse(), 1);
  await modes.apply([]);
  return { done: work.done, failed: [...work.failed, ...modes.failed] };
}

/** Works through items, a few at a time, and collects results and failures. */
class WorkQueue<Item, Result> {
  readonly done: Result[] = [];
  readonly failed: FailedPath[] = [];

  constructor(
    private readonly one: (item: Item) => Promise<Result>,
    private readonly pathOf: (item: Item) => string,
    private readonly watch: RestoreProgress,
  ) {}

  async all(items: readonly Item[], atOnce: number): Promise<void> {
    const left = [...items];
    const worker = async () => {
      for (let item = left.shift(); item !== undefined; item = left.shift()) {
        if (this.watch.signal.aborted) return;
        const path = this.pathOf(item);
        this.watch.onProgress(path, this.done.length);
        try {
          this.done.push(await this.one(item));
        } catch (error) {
          if (this.watch.signal.aborted) return;
          this.failed.push({ path, message: failureMessage(error) });
          if (error instanceof ApiError && FATAL_CODES.includes(error.code)) left.length = 0;
        }
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
  }
}

function failureMessage(error: unknown): string {
  const met = error instanceof ApiError && error.code === "precondition_failed";
  return met ? "It was changed during the restore, and is kept." : errorMessage(error);
}

/** Permissions to set after writing, where the agent's default differs. One chmod for each mode. */
class ModeChanges {
  readonly failed: FailedPath[] = [];
  private readonly pathsByMode = new Map<number, string[]>();

  constructor(private readonly workspace: string) {}

  add(path: string, wanted: number, given: number): void {
    const mode = wanted & PERMISSION_BITS;
    if (mode !== (given & PERMISSION_BITS))
      this.pathsByMode.set(mode, [...(this.pathsByMode.get(mode) ?? []), path]);
  }

  /** Sets the permissions. Returns `done` with the etags that the files have afterwards. */
  async apply(done: readonly RestoredPath[]): Promise<readonly RestoredPath[]> {
    const paths = new Set<string>();
    for (const [mode, all] of this.pathsByMode) {
      for (let at = 0; at < all.length; at += MAX_PATHS_PER_CHMOD) {
        const some = all.slice(at, at + MAX_PATHS_PER_CHMOD);
        try {
          await execProgram(this.workspace, ["chmod", mode.toString(8), "--", ...some]);
          for (const path of some) paths.add(path);
        } catch (error) {
          this.failed.push({ path: some[0] ?? "", message: failureMessage(error) });
        }
      }
    }
    const entriesOf = memoize(async (directory) =>
      byName((await filesApi.list(this.workspace, directory)).entries),
    );
    return Promise.all(
      done.map(async (was) => {
        const { path } = was.action;
        if (was.etag === null || !paths.has(path)) return was;
        return { ...was, etag: (await entriesOf(parentOf(path))).get(nameOf(path))?.etag ?? null };
      }),
    );
  }
}
