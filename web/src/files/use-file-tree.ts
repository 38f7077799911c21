// The home's directories as the page knows them: listed when opened, listed again when the guest changes them.
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { files, socketUrl } from "../api/endpoints";
import { ApiError, wordsOf } from "../api/client";
import type { LinkState } from "../streams/reconnecting-socket";
import { wakeOnReturn } from "../streams/reconnecting-socket";
import { FilesWatch } from "../streams/file-watcher";
import { isWithin, moved } from "./paths";
import { seenDirectories, toggled, type Directories } from "./tree-model";

export interface Files {
  directories: Directories;
  expanded: ReadonlySet<string>;
  failure: string;
  link: LinkState;
  toggle: (path: string, open?: boolean) => void;
  refresh: (directories?: readonly string[]) => void;
  /** A directory was renamed: what is open below stays open. */
  renamed: (from: string, to: string) => void;
  retry: () => void;
}

export function useFiles(workspace: string, remembered: readonly string[]): Files {
  const [directories, setDirectories] = useState<Directories>(new Map());
  const [expanded, setExpanded] = useState<ReadonlySet<string>>(() => new Set(remembered));
  const [failure, setFailure] = useState("");
  const [link, setLink] = useState<LinkState>("connecting");
  const watch = useRef<FilesWatch | null>(null);
  const listings = useRef(new Map<string, AbortController>());

  const list = useCallback(
    async (path: string) => {
      // The newest listing wins: an older one that is still under way would bring back what is gone.
      listings.current.get(path)?.abort();
      const controller = new AbortController();
      listings.current.set(path, controller);
      try {
        const { entries, truncated } = await files.list(workspace, path, controller.signal);
        if (controller.signal.aborted) return;
        setDirectories((known) => new Map(known).set(path, { entries, truncated }));
        if (path === "") setFailure("");
      } catch (error) {
        if (controller.signal.aborted) return;
        if (path === "") setFailure(wordsOf(error));
        else if (error instanceof ApiError && error.status === 404) {
          setExpanded((open) => new Set([...open].filter((one) => !isWithin(one, path))));
        }
      } finally {
        if (listings.current.get(path) === controller) listings.current.delete(path);
      }
    },
    [workspace],
  );

  const seen = useMemo(() => seenDirectories(directories, expanded), [directories, expanded]);
  const latest = useRef({ seen, list });
  useEffect(() => {
    latest.current = { seen, list };
  });

  const refresh = useCallback((changed?: readonly string[]) => {
    const { seen, list } = latest.current;
    for (const path of changed ?? seen) {
      if (seen.includes(path)) void list(path);
    }
  }, []);

  useEffect(() => {
    const pending = listings.current;
    const opened = new FilesWatch(() => socketUrl(workspace, "files/watch"), {
      changed: (changed) => refresh(changed ?? undefined),
      state: setLink,
      lost: () => undefined,
    });
    watch.current = opened;
    opened.want([""]);
    opened.start();
    const stopWaking = wakeOnReturn(opened.link);
    return () => {
      stopWaking();
      opened.close();
      for (const controller of pending.values()) controller.abort();
    };
  }, [workspace, refresh]);

  const known = useRef(new Set<string>());
  useEffect(() => {
    watch.current?.want(seen);
    for (const path of seen) {
      if (known.current.has(path)) continue;
      known.current.add(path);
      void list(path);
    }
    for (const path of known.current) if (!seen.includes(path)) known.current.delete(path);
  }, [seen, list]);

  const toggle = useCallback((path: string, open?: boolean) => {
    setExpanded((expanded) => toggled(expanded, path, open));
  }, []);
  const renamed = useCallback((from: string, to: string) => {
    setExpanded((expanded) => new Set([...expanded].map((path) => moved(path, from, to))));
  }, []);
  const retry = useCallback(() => {
    watch.current?.link.retry();
    refresh();
  }, [refresh]);
  return { directories, expanded, failure, link, toggle, refresh, renamed, retry };
}
