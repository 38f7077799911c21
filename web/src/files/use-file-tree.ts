// The file tree of a running home: directories are listed when they are opened, and again when the
// guest changes them.
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { filesApi, socketUrl } from "../api/endpoints";
import { ApiError, errorMessage } from "../api/client";
import type { ConnectionState } from "../streams/reconnecting-socket";
import { reconnectOnReturn } from "../streams/reconnecting-socket";
import { FileWatcher } from "../streams/file-watcher";
import { ListingQueue } from "./listing-queue";
import { pathAfterRename } from "./paths";
import { visibleDirectories, toggled, withListing, without, type Directories } from "./tree-model";

export interface FileTree {
  directories: Directories;
  expanded: ReadonlySet<string>;
  failure: string;
  connection: ConnectionState;
  toggle: (path: string, open?: boolean) => void;
  collapseAll: () => void;
  refresh: (directories?: readonly string[]) => void;
  /** Call after a directory was renamed: what is expanded below stays expanded. */
  renamed: (from: string, to: string) => void;
  retry: () => void;
}

export function useFileTree(workspace: string, remembered: readonly string[]): FileTree {
  const [directories, setDirectories] = useState<Directories>(new Map());
  const [expanded, setExpanded] = useState<ReadonlySet<string>>(() => new Set(remembered));
  const [failure, setFailure] = useState("");
  const [connection, setConnection] = useState<ConnectionState>("connecting");
  const watch = useRef<FileWatcher | null>(null);

  const list = useCallback(
    async (path: string, signal: AbortSignal) => {
      try {
        const { entries, truncated } = await filesApi.list(workspace, path, signal);
        if (signal.aborted) return;
        setDirectories((known) => withListing(known, path, { entries, truncated }));
        if (path === "") setFailure("");
      } catch (error) {
        if (signal.aborted) return;
        if (path === "") setFailure(errorMessage(error));
        // It stays expanded: a folder that is created again shows its new content.
        else if (error instanceof ApiError && error.status === 404)
          setDirectories((known) => without(known, path));
      }
    },
    [workspace],
  );
  const queue = useRef<ListingQueue | null>(null);

  const seen = useMemo(() => visibleDirectories(directories, expanded), [directories, expanded]);
  const latest = useRef(seen);
  useEffect(() => {
    latest.current = seen;
  });

  const refresh = useCallback((changed?: readonly string[]) => {
    for (const path of changed ?? latest.current) {
      if (latest.current.includes(path)) queue.current?.request(path);
    }
  }, []);

  useEffect(() => {
    const controller = new AbortController();
    const listings = new ListingQueue((path) => list(path, controller.signal));
    queue.current = listings;
    const opened = new FileWatcher(() => socketUrl(workspace, "files/watch"), {
      onChange: (changed) => refresh(changed ?? undefined),
      onState: setConnection,
      onClose: () => undefined,
    });
    watch.current = opened;
    opened.setDirectories([""]);
    opened.start();
    const stopWaking = reconnectOnReturn(opened.socket);
    return () => {
      stopWaking();
      opened.close();
      listings.close();
      controller.abort();
    };
  }, [workspace, refresh, list]);

  const known = useRef(new Set<string>());
  useEffect(() => {
    watch.current?.setDirectories(seen);
    for (const path of seen) {
      if (known.current.has(path)) continue;
      known.current.add(path);
      queue.current?.request(path);
    }
    for (const path of known.current) if (!seen.includes(path)) known.current.delete(path);
  }, [seen]);

  const toggle = useCallback((path: string, open?: boolean) => {
    setExpanded((expanded) => toggled(expanded, path, open));
  }, []);
  const collapseAll = useCallback(() => setExpanded(new Set()), []);
  const renamed = useCallback((from: string, to: string) => {
    setExpanded((expanded) => new Set([...expanded].map((path) => pathAfterRename(path, from, to))));
  }, []);
  const retry = useCallback(() => {
    watch.current?.socket.retry();
    refresh();
  }, [refresh]);
  return { directories, expanded, failure, connection, toggle, collapseAll, refresh, renamed, retry };
}
