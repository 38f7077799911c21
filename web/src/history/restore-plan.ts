// What bringing files of the past back would do to what is there now. Pure.
import type { Entry } from "../api/agent";
import type { PastEntry } from "../api/types";
import { size } from "../ui/format";
import { childOf, nameOf, parentOf } from "../files/paths";
import { MAX_UPLOAD_BYTES } from "../files/upload";

/** Longest name of a file, in bytes, as in Linux. */
const MAX_NAME_BYTES = 255;
/** Who may read, write and run; who set them is not brought back. */
export const PERMISSIONS = 0o777;

/** A path that is brought back, and what it meets. */
export interface Deed {
  path: string;
  past: PastEntry;
  /** A file is overwritten; anything else is set aside, under another name beside it. */
  meets: "nothing" | "file" | "other";
  /** Of the file that it meets: one that is written to meanwhile is left alone. */
  etag: string | null;
  /** Permissions of the file that it meets. */
  mode: number;
}

export interface Refused {
  path: string;
  reason: string;
}

export interface Plan {
  deeds: readonly Deed[];
  refused: readonly Refused[];
  /** Paths that were made since: they stay. */
  since: number;
}

/** What is to be done about a path; none where it is as it was. */
export function deedOf(path: string, past: PastEntry, present: Entry | undefined): Deed | Refused | null {
  if (!past.utf8) return { path, reason: "Its name is not UTF-8." };
  if (past.kind === "other") return { path, reason: "It was a socket, a pipe or a device." };
  if (past.kind === "file" && past.size > MAX_UPLOAD_BYTES)
    return {
      path,
      reason: `Too large: ${size(past.size)}, and at most ${size(MAX_UPLOAD_BYTES)} go through the page. Download it instead.`,
    };
  if (!present) return { path, past, meets: "nothing", etag: null, mode: 0 };
  if (past.kind === "directory" && present.kind === "directory") return null;
  if (past.kind === "symlink" && present.kind === "symlink" && past.target === present.target) return null;
  if (past.kind === "file" && present.kind === "file")
    return { path, past, meets: "file", etag: present.etag ?? null, mode: present.mode };
  return { path, past, meets: "other", etag: null, mode: 0 };
}

/** As programs that copy trees see it: of one size, and not written to since. */
export function isUntouched(past: PastEntry, present: Entry): boolean {
  const facts = (kind: string, size: number, modified: number) => `${kind} ${size} ${modified}`;
  return (
    past.kind === "file" &&
    facts(past.kind, past.size, past.modified_ms) === facts(present.kind, present.size, present.modified)
  );
}

export const isRefused = (one: Deed | Refused): one is Refused => "reason" in one;

/** Directories before what is in them. */
export function planOf(all: readonly (Deed | Refused | null)[], since: number): Plan {
  const known = all.filter((one) => one !== null);
  return {
    deeds: known.filter((one): one is Deed => !isRefused(one)).sort(byPath),
    refused: known.filter(isRefused).sort(byPath),
    since,
  };
}

function byPath(one: { path: string }, other: { path: string }): number {
  const [a, b] = [one.path.split("/"), other.path.split("/")];
  const at = a.findIndex((part, index) => part !== b[index]);
  if (at < 0) return a.length - b.length;
  return (a[at] ?? "") < (b[at] ?? "") ? -1 : 1;
}

export const bytesOf = ({ past }: Deed): number => (past.kind === "file" ? past.size : 0);

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
