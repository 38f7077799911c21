// What the Source Control view shows of a repository's status. Pure.
import type { FileChange, GitStatus, StatusEntry } from "../api/agent";
import { ancestorsOf, childOf, isWithin } from "../files/paths";

export type GroupName = "conflicts" | "staged" | "changes" | "untracked";

export interface GroupEntry {
  path: string;
  originalPath: string | null;
  letter: ChangeLetter;
  /** What has happened to the file, in words. */
  about: string;
  isRepository: boolean;
}

export interface ChangeGroup {
  name: GroupName;
  title: string;
  entries: readonly GroupEntry[];
}

/** As in VS Code: added, conflict, deleted, modified, renamed, type changed, untracked. */
export type ChangeLetter = "A" | "C" | "D" | "M" | "R" | "T" | "U";

const letters: Record<FileChange, ChangeLetter> = {
  unmodified: "M",
  modified: "M",
  type_changed: "T",
  added: "A",
  deleted: "D",
  renamed: "R",
  copied: "A",
  untracked: "U",
};

const words: Record<ChangeLetter, string> = {
  A: "Added",
  C: "Conflict",
  D: "Deleted",
  M: "Modified",
  R: "Renamed",
  T: "Type changed",
  U: "Untracked",
};

const conflictWords: Record<NonNullable<StatusEntry["conflict"]>, string> = {
  both_modified: "Both sides have changed it",
  both_added: "Both sides have added it",
  both_deleted: "Both sides have deleted it",
  added_by_us: "Added on this branch",
  added_by_them: "Added on the other branch",
  deleted_by_us: "Deleted on this branch",
  deleted_by_them: "Deleted on the other branch",
};

function entryOf(entry: StatusEntry, letter: ChangeLetter): GroupEntry {
  return {
    path: entry.path,
    originalPath: entry.original_path ?? null,
    letter,
    about: entry.conflict ? conflictWords[entry.conflict] : words[letter],
    isRepository: entry.is_repository,
  };
}

/** The groups that have entries. A file that is partly staged is in two of them. */
export function changeGroups(status: GitStatus | null): ChangeGroup[] {
  const entries = status?.entries ?? [];
  const conflicts = entries.filter(({ conflict }) => conflict);
  const staged = entries.filter(({ index }) => index !== "unmodified");
  const changed = entries.filter(({ worktree }) => worktree !== "unmodified" && worktree !== "untracked");
  const untracked = entries.filter(({ worktree }) => worktree === "untracked");
  const groups: ChangeGroup[] = [
    { name: "conflicts", title: "Conflicts", entries: conflicts.map((entry) => entryOf(entry, "C")) },
    {
      name: "staged",
      title: "Staged changes",
      entries: staged.map((entry) => entryOf(entry, letters[entry.index])),
    },
    {
      name: "changes",
      title: "Changes",
      entries: changed.map((entry) => entryOf(entry, letters[entry.worktree])),
    },
    { name: "untracked", title: "Untracked", entries: untracked.map((entry) => entryOf(entry, "U")) },
  ];
  return groups.filter(({ entries }) => entries.length > 0);
}

/** Paths that an action on entries is about: of a renamed file also the former one. */
export function pathsOf(entries: readonly GroupEntry[]): string[] {
  return entries.flatMap(({ path, originalPath }) => (originalPath ? [path, originalPath] : [path]));
}

/** A row of the view: the head of a group, or a file in it. */
export interface ChangeRow {
  key: string;
  group: ChangeGroup;
  entry: GroupEntry | null;
  isExpanded: boolean;
}

export function changeRows(groups: readonly ChangeGroup[], collapsed: ReadonlySet<string>): ChangeRow[] {
  return groups.flatMap((group) => {
    const isExpanded = !collapsed.has(group.name);
    const head: ChangeRow = { key: group.name, group, entry: null, isExpanded };
    if (!isExpanded) return [head];
    const rows = group.entries.map((entry) => ({
      key: `${group.name}/${entry.path}`,
      group,
      entry,
      isExpanded: false,
    }));
    return [head, ...rows];
  });
}

/** How a file or folder is marked in the Explorer. */
export interface Decoration {
  letter: ChangeLetter;
  about: string;
  /** A folder, in which files have changed. */
  isFolder: boolean;
}

const strength: readonly ChangeLetter[] = ["C", "M", "T", "R", "D", "A", "U"];

/** The marks of the Explorer, by path in the home. */
export function decorationsOf(repository: string | null, status: GitStatus | null): Map<string, Decoration> {
  const decorations = new Map<string, Decoration>();
  if (repository === null) return decorations;
  const mark = (path: string, decoration: Decoration) => {
    const present = decorations.get(path);
    if (present && strength.indexOf(present.letter) <= strength.indexOf(decoration.letter)) return;
    decorations.set(path, decoration);
  };
  for (const { entries } of changeGroups(status)) {
    for (const { path, letter, about } of entries) {
      const whole = childOf(repository, path.replace(/\/$/, ""));
      mark(whole, { letter, about, isFolder: false });
      for (const folder of ancestorsOf(whole)) {
        if (folder !== repository && isWithin(folder, repository))
          mark(folder, { letter, about: "Contains changes", isFolder: true });
      }
    }
  }
  return decorations;
}

/** The number beside the view's icon. */
export const changeCount = (status: GitStatus | null): number => status?.entries.length ?? 0;

/** "main", or the beginning of a commit's hash. */
export function branchLabel(status: GitStatus): string {
  return status.branch ?? status.head?.slice(0, 8) ?? "No commits";
}

/** What the sync button says, and does. */
export type SyncAction = "publish" | "sync" | "fetch" | null;

export function syncAction(status: GitStatus): SyncAction {
  if (!status.branch || !status.head) return null;
  if (!status.upstream || status.ahead === null || status.ahead === undefined) return "publish";
  return status.ahead > 0 || (status.behind ?? 0) > 0 ? "sync" : "fetch";
}

/** "↓2 ↑1"; empty if both are the same. */
export function syncLabel({ ahead, behind }: Pick<GitStatus, "ahead" | "behind">): string {
  return [behind ? `↓${behind}` : "", ahead ? `↑${ahead}` : ""].filter(Boolean).join(" ");
}

/** The repository that a file is in: the innermost one. */
export function repositoryOf(path: string, repositories: readonly string[]): string | null {
  const around = repositories.filter((repository) => isWithin(path, repository) && path !== repository);
  return around.reduce<string | null>(
    (inner, one) => (inner === null || one.length > inner.length ? one : inner),
    null,
  );
}

/** The path of a home's file in a repository. */
export const pathInRepository = (path: string, repository: string): string =>
  repository === "" ? path : path.slice(repository.length + 1);

/** The directory that a clone makes: the last part of its address. */
export function directoryOfUrl(url: string): string {
  const last = url
    .trim()
    .replace(/[/\\]+$/, "")
    .replace(/\.git$/, "")
    .split(/[/:\\]/)
    .at(-1);
  return last ?? "";
}
