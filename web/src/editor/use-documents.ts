// The open files: one shared document for each tab.
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { socketUrl } from "../api/endpoints";
import { SharedDocument } from "../streams/shared-document";
import { browserEnvironment, reconnectOnReturn } from "../streams/reconnecting-socket";
import { isWithin, pathAfterRename } from "../files/paths";
import { userColor } from "./remote-cursors";
import { unsavedTextSlot } from "./unsaved-texts";

/** Limit of open tabs. The oldest inactive tab is closed beyond it. */
const MAX_OPEN = 30;

export interface OpenDocuments {
  paths: readonly string[];
  active: string | null;
  shared: (path: string) => SharedDocument | undefined;
  open: (path: string) => void;
  activate: (path: string) => void;
  close: (path: string) => void;
  renamed: (from: string, to: string) => void;
  removed: (path: string) => void;
}

interface OpenPaths {
  paths: readonly string[];
  active: string | null;
}

export function useDocuments(
  workspace: string,
  user: { id: string; name: string },
  remembered: OpenPaths,
): OpenDocuments {
  const [{ paths, active }, setOpen] = useState<OpenPaths>(remembered);
  const [documents, setDocuments] = useState<ReadonlyMap<string, SharedDocument>>(new Map());
  const sessions = useRef(new Map<string, { shared: SharedDocument; stop: () => void }>());
  const { id, name } = user;

  useEffect(() => {
    const all = sessions.current;
    for (const [path, { shared, stop }] of all) {
      if (paths.includes(path)) continue;
      stop();
      shared.close();
      all.delete(path);
    }
    for (const path of paths) {
      if (all.has(path)) continue;
      const shared = new SharedDocument(
        (query) => socketUrl(workspace, "documents", { path, ...query }),
        { name, color: userColor(id) },
        browserEnvironment,
        unsavedTextSlot(id, workspace, path),
      );
      shared.start();
      all.set(path, { shared, stop: reconnectOnReturn(shared.connection) });
    }
    setDocuments(new Map([...all].map(([path, { shared }]) => [path, shared])));
  }, [workspace, paths, id, name]);

  useEffect(() => {
    const all = sessions.current;
    return () => {
      for (const { shared, stop } of all.values()) {
        stop();
        shared.close();
      }
      all.clear();
    };
  }, []);

  // Ask before leaving only if edits have not reached the disk.
  useEffect(() => {
    const ask = (event: BeforeUnloadEvent) => {
      if ([...sessions.current.values()].some(({ shared }) => !shared.state.saved && !shared.state.refused))
        event.preventDefault();
    };
    const store = () => sessions.current.forEach(({ shared }) => shared.storeUnsavedText());
    window.addEventListener("beforeunload", ask);
    window.addEventListener("pagehide", store);
    return () => {
      window.removeEventListener("beforeunload", ask);
      window.removeEventListener("pagehide", store);
    };
  }, []);

  const open = useCallback((path: string) => {
    setOpen(({ paths }) => {
      if (paths.includes(path)) return { paths, active: path };
      return { paths: [...paths.slice(-(MAX_OPEN - 1)), path], active: path };
    });
  }, []);
  const activate = useCallback((path: string) => setOpen(({ paths }) => ({ paths, active: path })), []);
  const closeAll = useCallback((which: (path: string) => boolean) => {
    setOpen(({ paths, active }) => {
      const left = paths.filter((path) => !which(path));
      if (active === null || left.includes(active)) return { paths: left, active };
      const before = paths.slice(0, paths.indexOf(active)).filter((path) => !which(path));
      return { paths: left, active: before.at(-1) ?? left[0] ?? null };
    });
  }, []);
  const close = useCallback((path: string) => closeAll((one) => one === path), [closeAll]);
  const removed = useCallback((path: string) => closeAll((one) => isWithin(one, path)), [closeAll]);
  const renamed = useCallback((from: string, to: string) => {
    setOpen(({ paths, active }) => ({
      paths: [...new Set(paths.map((path) => pathAfterRename(path, from, to)))],
      active: active && pathAfterRename(active, from, to),
    }));
  }, []);
  const shared = useCallback((path: string) => documents.get(path), [documents]);
  return useMemo(
    () => ({ paths, active, shared, open, activate, close, renamed, removed }),
    [paths, active, shared, open, activate, close, renamed, removed],
  );
}
