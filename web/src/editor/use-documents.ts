// The open files: their tabs, and one shared document for each file.
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { socketUrl } from "../api/endpoints";
import { isDiffTab } from "../git/diff-tab";
import { SharedDocument } from "../streams/shared-document";
import { browserEnvironment, reconnectOnReturn } from "../streams/reconnecting-socket";
import { userColor } from "./remote-cursors";
import { focusedGroup, openPaths, openTab, removeFromTabs, renameInTabs, type Tabs } from "./tab-model";
import { unsavedTextSlot } from "./unsaved-texts";

export interface OpenDocuments {
  tabs: Tabs;
  /** All open files, each once. */
  paths: readonly string[];
  /** The file in front in the focused group. */
  active: string | null;
  shared: (path: string) => SharedDocument | undefined;
  /** Opens a file in the focused group. A preview is replaced by the next one. */
  open: (path: string, isPreview?: boolean) => void;
  /** Changes the tabs, by a function of the tab model. */
  change: (change: (tabs: Tabs) => Tabs) => void;
  renamed: (from: string, to: string) => void;
  removed: (path: string) => void;
}

export function useDocuments(
  workspace: string,
  user: { id: string; name: string },
  remembered: Tabs,
): OpenDocuments {
  const [tabs, setTabs] = useState<Tabs>(remembered);
  const paths = useMemo(() => openPaths(tabs).filter((path) => !isDiffTab(path)), [tabs]);
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

  const open = useCallback(
    (path: string, isPreview = false) => setTabs((tabs) => openTab(tabs, path, isPreview)),
    [],
  );
  const removed = useCallback((path: string) => setTabs((tabs) => removeFromTabs(tabs, path)), []);
  const renamed = useCallback(
    (from: string, to: string) => setTabs((tabs) => renameInTabs(tabs, from, to)),
    [],
  );
  const shared = useCallback((path: string) => documents.get(path), [documents]);
  const { active } = focusedGroup(tabs);
  return useMemo(
    () => ({ tabs, paths, active, shared, open, change: setTabs, renamed, removed }),
    [tabs, paths, active, shared, open, renamed, removed],
  );
}
