// The types of a home's past, by hand, exactly as protocol::api::snapshot has them, until the API's own description tells of
// them. Then this file goes, and with it its one mention in types.ts.
import type { EntryKind } from "./agent";

export interface HistorySchemas {
  SnapshotKind: "stream" | "stop" | "asked";
  Consistency: "crash" | "clean";
  Snapshot: {
    id: string;
    /** Given by a person. A named snapshot is never thinned out. */
    name?: string | null;
    kind: HistorySchemas["SnapshotKind"];
    consistency: HistorySchemas["Consistency"];
    epoch: number;
    changed_bytes: number;
    uploaded_bytes: number;
    stored_bytes: number;
    /** The instant. */
    created_at: string;
  };
  /** Newest first. */
  SnapshotList: {
    snapshots: HistorySchemas["Snapshot"][];
    /** There are older ones: ask with `before` the last one's `created_at`. */
    more?: boolean;
  };
  NewSnapshot: { name?: string | null };
  EditSnapshot: { name: string };
  Restore: { snapshot: string };
  Fork: { name: string; snapshot?: string | null; start?: boolean | null };
  /** Where a workspace's home comes from. */
  Origin: { workspace: string; at: string };
  Directory: { path: string; entries: HistorySchemas["PastEntry"][]; truncated: boolean };
  PastEntry: {
    name: string;
    utf8: boolean;
    kind: EntryKind;
    size: number;
    /** Unix milliseconds. */
    modified_ms: number;
    mode: number;
    target?: string | null;
  };
  ChangeKind: "added" | "removed" | "changed";
  Change: {
    path: string;
    kind: HistorySchemas["ChangeKind"];
    /** Of the entry, in the later snapshot unless it was removed. */
    entry: EntryKind;
    size_before?: number | null;
    size_after?: number | null;
  };
  Changes: { changes: HistorySchemas["Change"][]; truncated: boolean };
  HomeNotice: "store_unavailable" | "throttled" | "host_disk_full";
  /** What protocol::api::workspace says besides. */
  Workspace: {
    /** While running: the age of the oldest write that no snapshot holds yet, when the machine last told. 0: all is safe. */
    unreplicated_seconds?: number | null;
    dirty_bytes?: number | null;
    home_used_bytes?: number | null;
    home_notice?: HistorySchemas["HomeNotice"] | null;
    forked_from?: HistorySchemas["Origin"] | null;
  };
}
