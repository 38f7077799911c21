// Files of the past, brought back into the running home through its agent, and that taken back. Knows no page.
import type { Entry } from "../api/agent";
import { files, snapshots } from "../api/endpoints";
import { ApiError, wordsOf } from "../api/client";
import type { PastEntry } from "../api/types";
import { run } from "../streams/exec";
import { ancestorsOf, childOf, nameOf, parentOf } from "../files/paths";
import { deedOf, isUntouched, keptName, PERMISSIONS, planOf, type Deed, type Plan } from "./restore-plan";

/** Most paths of one call: more is a whole home. */
export const MAX_DEEDS = 10_000;
/** Files on their way at once. */
const AT_ONCE = 4;
/** Paths in one call of a program: far below what a kernel takes. */
const PATHS_OF_ONE_CALL = 200;
/** After one of these the next file would fare no better. */
const ENDS_ALL = [
  "unauthenticated",
  "unavailable",
  "unreachable",
  "not_running",
  "disk_full",
  "quota_exceeded",
];

export class TooMany extends Error {
  constructor() {
    super(`More than ${MAX_DEEDS.toLocaleString("en")} paths differ: too many for one go.`);
  }
}

/** What was done to a path, for taking it back. */
export interface Done {
  deed: Deed;
  /** Where what it met is now, if that was set aside. */
  kept: string | null;
  /** Of the file that was written. */
  etag: string | null;
}

export interface Failed {
  path: string;
  words: string;
}

export interface Outcome {
  done: readonly Done[];
  failed: readonly Failed[];
}

export interface Watch {
  signal: AbortSignal;
  tell: (path: string, done: number) => void;
}

/** Answers that are asked for once. */
function once<T>(ask: (key: string) => Promise<T>): (key: string) => Promise<T> {
  const known = new Map<string, Promise<T>>();
  return (key) => {
    const old = known.get(key);
    if (old) return old;
    const asked = ask(key);
    known.set(key, asked);
    return asked;
  };
}

type Entries<T> = ReadonlyMap<string, T>;
const byName = <T extends { name: string }>(entries: readonly T[]): Entries<T> =>
  new Map(entries.map((entry) => [entry.name, entry]));

/** Compares a path as it was with what is there now; of a folder, with what of it is in the store. */
export async function lookAhead(
  workspace: string,
  snapshot: string,
  path: string,
  signal: AbortSignal,
): Promise<Plan> {
  const pastIn = once(async (directory): Promise<Entries<PastEntry>> =>
    byName((await snapshots.directory(workspace, snapshot, directory, signal)).entries),
  );
  const presentIn = once(async (directory): Promise<Entries<Entry>> => {
    if (directory !== "") {
      const above = await presentIn(parentOf(directory));
      if (above.get(nameOf(directory))?.kind !== "directory") return new Map();
    }
    return byName((await files.list(workspace, directory, signal)).entries);
  });
  const all: ReturnType<typeof deedOf>[] = [];
  const add = async (path: string, past: PastEntry) => {
    if (all.length >= MAX_DEEDS) throw new TooMany();
    const present = (await presentIn(parentOf(path))).get(nameOf(path));
    all.push(deedOf(path, past, present));
    // What both have as a directory is among the changes, path by path.
    if (past.kind !== "directory" || present?.kind === "directory") return;
    for (const entry of (await pastIn(path)).values()) await add(childOf(path, entry.name), entry);
  };
  // What was above it may have gone with it.
  for (const above of ancestorsOf(path)) {
    const past = (await pastIn(parentOf(above))).get(nameOf(above));
    if (past) all.push(deedOf(above, past, (await presentIn(parentOf(above))).get(nameOf(above))));
  }
  // Of one file it is known at once; a folder is compared with the newest snapshot, a few seconds ago.
  const root = (await pastIn(parentOf(path))).get(nameOf(path));
  if (root && root.kind !== "directory") {
    const present = (await presentIn(parentOf(path))).get(nameOf(path));
    if (!present || !isUntouched(root, present)) all.push(deedOf(path, root, present));
    return planOf(all, 0);
  }
  const { changes, truncated } = await snapshots.changes(workspace, snapshot, null, signal, path);
  if (truncated) throw new TooMany();
  const gone = changes.filter((change) => change.kind !== "added");
  for (const { path } of gone) {
    const past = (await pastIn(parentOf(path))).get(nameOf(path));
    if (past) await add(path, past);
  }
  return planOf(all, changes.length - gone.length);
}

/** Writes what the plan says. What fails is told and the rest goes on, unless nothing could succeed any more. */
export async function carryOut(
  workspace: string,
  snapshot: string,
  { deeds }: Plan,
  watch: Watch,
): Promise<Outcome> {
  const modes = new Modes(workspace);
  const now = new Date();
  const one = async (deed: Deed): Promise<Done> => {
    const kept = deed.meets === "other" ? keptName(deed.path, now) : null;
    if (kept !== null) await files.rename(workspace, deed.path, kept);
    try {
      const made = await write(workspace, snapshot, deed, watch.signal);
      if (made)
        modes.want(deed.path, deed.past.mode | (deed.past.kind === "directory" ? 0o700 : 0), made.mode);
      return { deed, kept, etag: made?.etag ?? null };
    } catch (error) {
      // Better the present than nothing.
      if (kept !== null) await files.rename(workspace, kept, deed.path);
      throw error;
    }
  };
  const directories = deeds.filter(({ past }) => past.kind === "directory");
  const others = deeds.filter(({ past }) => past.kind !== "directory");
  const work = new Work<Deed, Done>(one, (deed) => deed.path, watch);
  await work.all(directories, 1);
  await work.all(others, AT_ONCE);
  return { done: await modes.set(work.done), failed: [...work.failed, ...modes.failed] };
}

async function write(
  workspace: string,
  snapshot: string,
  { path, past, etag }: Deed,
  signal: AbortSignal,
): Promise<Entry | null> {
  switch (past.kind) {
    case "directory":
      return files.makeDirectory(workspace, path);
    case "symlink":
      await run(workspace, ["ln", "-s", "-n", "--", past.target ?? "", path]);
      return null;
    case "file": {
      const content = await (await snapshots.content(workspace, snapshot, path, signal)).blob();
      return files.write(workspace, path, content, etag, signal);
    }
    case "other":
      throw new Error("It is nothing that can be written.");
  }
}

/** Puts back what `done` met, as `before` has it; what it met nothing goes, unless it was written to since. */
export async function takeBack(
  workspace: string,
  before: string,
  done: readonly Done[],
  watch: Watch,
): Promise<Outcome> {
  const presentIn = once(async (directory) => byName((await files.list(workspace, directory)).entries));
  const modes = new Modes(workspace);
  const one = async (was: Done): Promise<Done> => {
    const { deed, kept, etag } = was;
    const { path } = deed;
    if (deed.meets === "file") {
      const content = await (await snapshots.content(workspace, before, path, watch.signal)).blob();
      const made = await files.write(workspace, path, content, etag, watch.signal);
      modes.want(path, deed.mode, made.mode);
      return was;
    }
    const present = (await presentIn(parentOf(path))).get(nameOf(path));
    if (present && etag !== null && present.etag !== etag)
      throw new Error("It was written to since, and stays.");
    if (present) await files.remove(workspace, path, false);
    if (kept !== null) await files.rename(workspace, kept, path);
    return was;
  };
  const work = new Work<Done, Done>(one, ({ deed }) => deed.path, watch);
  const isDirectory = ({ deed }: Done) => deed.past.kind === "directory";
  await work.all(
    done.filter((was) => !isDirectory(was)),
    AT_ONCE,
  );
  // Those below before those above.
  await work.all([...done].filter(isDirectory).reverse(), 1);
  await modes.set([]);
  return { done: work.done, failed: [...work.failed, ...modes.failed] };
}

/** Deeds one after the other, a few at once. */
class Work<Item, Result> {
  readonly done: Result[] = [];
  readonly failed: Failed[] = [];

  constructor(
    private readonly one: (item: Item) => Promise<Result>,
    private readonly pathOf: (item: Item) => string,
    private readonly watch: Watch,
  ) {}

  async all(items: readonly Item[], atOnce: number): Promise<void> {
    const left = [...items];
    const worker = async () => {
      for (let item = left.shift(); item !== undefined; item = left.shift()) {
        if (this.watch.signal.aborted) return;
        const path = this.pathOf(item);
        this.watch.tell(path, this.done.length);
        try {
          this.done.push(await this.one(item));
        } catch (error) {
          if (this.watch.signal.aborted) return;
          this.failed.push({ path, words: failureWords(error) });
          if (error instanceof ApiError && ENDS_ALL.includes(error.code)) left.length = 0;
        }
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
  }
}

function failureWords(error: unknown): string {
  const met = error instanceof ApiError && error.code === "precondition_failed";
  return met ? "It was written to meanwhile, and stays." : wordsOf(error);
}

/** Permissions that the agent did not give by itself. */
class Modes {
  readonly failed: Failed[] = [];
  private readonly wanted = new Map<number, string[]>();

  constructor(private readonly workspace: string) {}

  want(path: string, wanted: number, given: number): void {
    const mode = wanted & PERMISSIONS;
    if (mode !== (given & PERMISSIONS)) this.wanted.set(mode, [...(this.wanted.get(mode) ?? []), path]);
  }

  /** Gives what was done with the marks that the files have then. */
  async set(done: readonly Done[]): Promise<readonly Done[]> {
    const paths = new Set<string>();
    for (const [mode, all] of this.wanted) {
      for (let at = 0; at < all.length; at += PATHS_OF_ONE_CALL) {
        const some = all.slice(at, at + PATHS_OF_ONE_CALL);
        try {
          await run(this.workspace, ["chmod", mode.toString(8), "--", ...some]);
          for (const path of some) paths.add(path);
        } catch (error) {
          this.failed.push({ path: some[0] ?? "", words: failureWords(error) });
        }
      }
    }
    const entriesOf = once(async (directory) =>
      byName((await files.list(this.workspace, directory)).entries),
    );
    return Promise.all(
      done.map(async (was) => {
        const { path } = was.deed;
        if (was.etag === null || !paths.has(path)) return was;
        return { ...was, etag: (await entriesOf(parentOf(path))).get(nameOf(path))?.etag ?? null };
      }),
    );
  }
}
