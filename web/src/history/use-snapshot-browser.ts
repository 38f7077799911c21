// Browses the files of one snapshot: directories are listed when they are opened. The previous
// snapshot's tree stays until the next one has loaded.
import { useCallback, useEffect, useRef, useState } from "react";
import type { Entry } from "../api/agent";
import { snapshotsApi } from "../api/endpoints";
import { ApiError } from "../api/client";
import type { SnapshotDirectory } from "../api/types";
import { toggled, type Directories, type Directory } from "../files/tree-model";

/** Directories kept in the cache. A snapshot never changes. */
const MAX_CACHED = 300;

export interface SnapshotBrowser {
  /** The snapshot of `directories`. Null until the first has loaded. */
  snapshot: string | null;
  directories: Directories;
  expanded: ReadonlySet<string>;
  loading: boolean;
  failure: unknown;
  toggle: (path: string, open?: boolean) => void;
  retry: () => void;
}

/** Converts a listing to the tree's form, sorted as the agent sorts. */
function directoryOf({ entries, truncated }: SnapshotDirectory): Directory {
  const sorted = entries
    .map(({ modified_ms, ...entry }): Entry => ({ ...entry, modified: modified_ms }))
    .sort(
      (a, b) => Number(a.kind !== "directory") - Number(b.kind !== "directory") || compare(a.name, b.name),
    );
  return { entries: sorted, truncated };
}
const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

/** Directories in `remembered` are expanded from the start. */
export function useSnapshotBrowser(
  workspace: string,
  snapshot: string | null,
  remembered: readonly string[],
): SnapshotBrowser {
  const [seen, setSeen] = useState<{ snapshot: string | null; directories: Directories }>({
    snapshot: null,
    directories: new Map(),
  });
  const [expanded, setExpanded] = useState<ReadonlySet<string>>(() => new Set(remembered));
  const [loading, setLoading] = useState(true);
  const [failure, setFailure] = useState<unknown>(null);
  const [attempt, setAttempt] = useState(0);
  const kept = useRef(new Map<string, Directory>());

  useEffect(() => {
    if (snapshot === null) return;
    const controller = new AbortController();
    const read = async (path: string): Promise<Directory> => {
      const key = `${snapshot}/${path}`;
      const old = kept.current.get(key);
      if (old) return old;
      const directory = directoryOf(
        await snapshotsApi.listDirectory(workspace, snapshot, path, controller.signal),
      );
      kept.current.set(key, directory);
      for (const first of kept.current.keys()) {
        if (kept.current.size <= MAX_CACHED) break;
        kept.current.delete(first);
      }
      return directory;
    };
    const readOpen = async (path: string): Promise<[string, Directory][]> => {
      try {
        return [[path, await read(path)]];
      } catch (error) {
        // A directory that is expanded in one snapshot may not exist in another.
        if (path !== "" && error instanceof ApiError && error.status === 404) return [];
        throw error;
      }
    };
    setLoading(true);
    Promise.all(["", ...expanded].map(readOpen))
      .then(
        (read) => {
          if (controller.signal.aborted) return;
          setSeen({ snapshot, directories: new Map(read.flat()) });
          setFailure(null);
        },
        (error: unknown) => {
          if (!controller.signal.aborted) setFailure(error);
        },
      )
      .finally(() => {
        if (!controller.signal.aborted) setLoading(false);
      });
    return () => controller.abort();
  }, [workspace, snapshot, expanded, attempt]);

  const toggle = useCallback((path: string, open?: boolean) => {
    setExpanded((expanded) => toggled(expanded, path, open));
  }, []);
  const retry = useCallback(() => setAttempt((attempt) => attempt + 1), []);
  return { ...seen, expanded, loading, failure, toggle, retry };
}
