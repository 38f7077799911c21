// The agent's messages (protocol: files, terminal, document), which come from a guest: text to be
// shown, never markup.

export type EntryKind = "file" | "directory" | "symlink" | "other";

export interface Entry {
  /** With replacement characters where it is not UTF-8. */
  name: string;
  /** Whether `name` is exact; where it is not, the entry can be seen but not addressed. */
  utf8: boolean;
  kind: EntryKind;
  size: number;
  /** Unix milliseconds. */
  modified: number;
  mode: number;
  target?: string | null;
  etag?: string | null;
}

export interface Listing {
  path: string;
  entries: Entry[];
  truncated: boolean;
}

export interface Changed {
  directories: string[];
  all?: boolean;
}

export interface Size {
  cols: number;
  rows: number;
}

export interface Exit {
  code?: number | null;
  signal?: number | null;
}

export interface TerminalInfo {
  id: string;
  title: string;
  size: Size;
  created_at: number;
  end: number;
  viewers: number;
  exit?: Exit | null;
}

export interface AttachInfo {
  size: Size;
  /** Where the following output begins. */
  start: number;
  /** Input of this client already typed. */
  input: number;
}

export type RefusalReason =
  | "stale"
  | "not_found"
  | "too_large"
  | "not_text"
  | "not_a_file"
  | "outside_home"
  | "permission_denied"
  | "bad_update"
  | "too_many"
  | "internal";

export type DocumentEvent =
  | { type: "opened"; epoch: string; read_only: boolean }
  | { type: "saved"; bytes: number }
  | { type: "dirty" }
  | { type: "refused"; reason: RefusalReason; message: string }
  | { type: "deleted" }
  | { type: "save_failed"; message: string };
