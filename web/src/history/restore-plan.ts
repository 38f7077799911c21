// Plans a restore of files: what it would do to the files that are there now. Pure.
import type { Entry } from "../api/agent";
import type { SnapshotEntry } from "../api/types";
import { formatBytes } from "../ui/format";
import { childOf, nameOf, parentOf } from "../files/paths";
import { MAX_UPLOAD_BYTES } from "../files/upload";

/** Linux's limit for a file name. */
const MAX_NAME_BYTES = 255;
/** The permission bits that are restored. Set-uid, set-gid and sticky bits are not. */
export const PERMISSION_BITS = 0o777;

/** One path to restore, and what it replaces. */
export interface RestoreAction {
  path: string;
  entry: SnapshotEntry;
  /** A file is overwritten. Anything else is renamed first, and kept next to it. */
  replaces: "nothing" | "file" | "other";
  /** Of the file that is replaced. A file that changed since then is not overwritten. */
  etag: string | null;
  /** Permissions of the file that is replaced. */
  mode: number;
}

export interface SkippedPath {
  path: string;
  reason: string;
}

export interface RestorePlan {
  actions: readonly RestoreAction[];
  skipped: readonly SkippedPath[];
  /** Number of paths created after the snapshot. They are kept. */
  newerCount: number;
}

/** What to do about one path. Null: it has not changed. */
export function planPath(
  path: string,
  entry: SnapshotEntry,
  present: Entry | undefined,
): RestoreAction | SkippedPath | null {
  if (!entry.utf8) return { path, reason: "The name is not UTF-8." };
  if (entry.kind === "other") return { path, reason: "Sockets, pipes and devices cannot be restored." };
  if (entry.kind === "file" && entry.size > MAX_UPLOAD_BYTES)
    return {
      path,
      reason: `Too large: ${formatBytes(entry.size)}, and at most ${formatBytes(MAX_UPLOAD_BYTES)} go through the page. Download it instead.`,
    };
  if (!present) return { path, entry, replaces: "nothing", etag: null, mode: 0 };
  if (entry.kind === "directory" && present.kind === "directory") return null;
  if (entry.kind === "symlink" && present.kind === "symlink" && entry.target === present.target) return null;
  if (entry.kind === "file" && present.kind === "file")
    return { path, entry, replaces: "file", etag: present.etag ?? null, mode: present.mode };
  return { path, entry, replaces: "other", etag: null, mode: 0 };
}

/** Same size and modification time, which is how copying tools detect an unchanged file. */
export function isUnchanged(past: SnapshotEntry, present: Entry): boolean {
  const facts = (kind: string, size: number, modified: number) => `${kind} ${size} ${modified}`;
  return (
    past.kind === "file" &&
    facts(past.kind, past.size, past.modified_ms) === facts(present.kind, present.size, present.modified)
  );
}

export const isSkipped = (one: RestoreAction | SkippedPath): one is SkippedPath => "reason" in one;

/** Sorts directories before their content. */
export function planOf(
  all: readonly (RestoreAction | SkippedPath | null)[],
  newerCount: number,
): RestorePlan {
  const known = all.filter((one) => one !== null);
  return {
    actions: known.filter((one): one is RestoreAction => !isSkipped(one)).sort(byPath),
    skipped: known.filter(isSkipped).sort(byPath),
    newerCount,
  };
}

function byPath(one: { path: string }, other: { path: string }): number {
  const [a, b] = [one.path.split("/"), other.path.split("/")];
  const at = a.findIndex((part, index) => part !== b[index]);
  if (at < 0) return a.length - b.length;
  return (a[at] ?? "") < (b[at] ?? "") ? -1 : 1;
}

export const bytesOf = ({ entry }: RestoreAction): number => (entry.kind === "file" ? entry.size : 0);

/** `main.rs` → `main.rs.before-restore-20250312-140322`, in the same directory. */
export function keptName(path: string, now: Date): string {
  const two = (number: number) => String(number).padStart(2, "0");
  const day = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`;
  const time = `${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`;
  const ending = `.before-restore-${day}-${time}`;
  const letters = [...nameOf(path)];
  const bytes = (text: string) => new TextEncoder().encode(text).length;
  while (bytes(letters.join("")) + ending.length > MAX_NAME_BYTES) letters.pop();
  return childOf(parentOf(path), letters.join("") + ending);
}
