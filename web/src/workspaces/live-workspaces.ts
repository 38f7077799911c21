// Workspaces, updated from the server's event streams, as hooks. Of two records, the one with the
// higher revision wins.
import { useCallback, useEffect, useRef, useState } from "react";
import { workspacesApi } from "../api/endpoints";
import { subscribeToEvents } from "../api/event-stream";
import type { Workspace } from "../api/types";

export type Workspaces = ReadonlyMap<string, Workspace>;

/** `known` with `workspace`, unless `known` has a newer record of it. */
export function withWorkspace(known: Workspaces, workspace: Workspace): Workspaces {
  const old = known.get(workspace.id);
  if (old && old.revision > workspace.revision) return known;
  return new Map(known).set(workspace.id, workspace);
}

export function withoutWorkspace(known: Workspaces, id: string): Workspaces {
  if (!known.has(id)) return known;
  const next = new Map(known);
  next.delete(id);
  return next;
}

/** Replaces `known` with a complete list. Records that are newer than the list's are kept. */
export function withList(known: Workspaces, list: readonly Workspace[]): Workspaces {
  return list.reduce((next, workspace) => {
    const old = known.get(workspace.id);
    return withWorkspace(next, old && old.revision > workspace.revision ? old : workspace);
  }, new Map() as Workspaces);
}

export interface LiveList {
  /** Null until the first response. */
  workspaces: Workspaces | null;
  failure: unknown;
  connected: boolean;
  update: (workspace: Workspace) => void;
  remove: (id: string) => void;
}

export function useLiveWorkspaces(): LiveList {
  const [known, setKnown] = useState<Workspaces | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const [connected, setConnected] = useState(true);
  // Deleted on this page. Their sandboxes are still stopping, so their events are ignored.
  const dropped = useRef(new Set<string>());
  const update = useCallback((workspace: Workspace) => {
    dropped.current.delete(workspace.id);
    setKnown((known) => withWorkspace(known ?? new Map(), workspace));
  }, []);
  const forget = useCallback((id: string) => setKnown((known) => known && withoutWorkspace(known, id)), []);
  const remove = useCallback(
    (id: string) => {
      dropped.current.add(id);
      forget(id);
    },
    [forget],
  );
  useEffect(() => {
    const readAll = () => {
      workspacesApi.list().then(
        (list) => {
          setFailure(null);
          const there = list.filter(({ id }) => !dropped.current.has(id));
          setKnown((known) => withList(known ?? new Map(), there));
        },
        (error: unknown) => setFailure(error),
      );
    };
    readAll();
    return subscribeToEvents({
      path: "/workspaces/events",
      probe: "/auth/session",
      handlers: {
        workspace: (data) => {
          const workspace = data as Workspace;
          if (!dropped.current.has(workspace.id)) update(workspace);
        },
        deleted: (data) => {
          const { id } = data as { id: string };
          dropped.current.delete(id);
          forget(id);
        },
      },
      onState: (open) => {
        setConnected(open);
        if (open) readAll(); // workspaces may have been deleted while disconnected
      },
      onNotFound: () => undefined,
    });
  }, [update, forget]);
  return { workspaces: known, failure, connected, update, remove };
}

export interface LiveWorkspace {
  workspace: Workspace | null;
  isMissing: boolean;
  connected: boolean;
  update: (workspace: Workspace) => void;
}

export function useLiveWorkspace(id: string): LiveWorkspace {
  const [known, setKnown] = useState<Workspaces>(new Map());
  const [isMissing, setGone] = useState(false);
  const [connected, setConnected] = useState(false);
  const update = useCallback(
    (workspace: Workspace) => setKnown((known) => withWorkspace(known, workspace)),
    [],
  );
  useEffect(
    () =>
      subscribeToEvents({
        path: `/workspaces/${id}/events`,
        probe: `/workspaces/${id}`,
        handlers: { workspace: (data) => update(data as Workspace), deleted: () => setGone(true) },
        onState: setConnected,
        onNotFound: () => setGone(true),
      }),
    [id, update],
  );
  return { workspace: known.get(id) ?? null, isMissing, connected, update };
}
