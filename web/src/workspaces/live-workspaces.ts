// Workspaces and classes as they change, as hooks. The record with the higher revision wins, whichever way it came.
import { useCallback, useEffect, useRef, useState } from "react";
import { workspaces as calls } from "../api/endpoints";
import { listen } from "../api/event-stream";
import type { Workspace } from "../api/types";

export type Workspaces = ReadonlyMap<string, Workspace>;

/** `known` with `workspace`, unless a newer record is there. */
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

/** A whole list: what is not in it is gone, what is known newer stays. */
export function withList(known: Workspaces, list: readonly Workspace[]): Workspaces {
  return list.reduce((next, workspace) => {
    const old = known.get(workspace.id);
    return withWorkspace(next, old && old.revision > workspace.revision ? old : workspace);
  }, new Map() as Workspaces);
}

export interface LiveList {
  /** None until the first answer. */
  workspaces: Workspaces | null;
  failure: unknown;
  connected: boolean;
  put: (workspace: Workspace) => void;
  drop: (id: string) => void;
}

export function useLiveWorkspaces(): LiveList {
  const [known, setKnown] = useState<Workspaces | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const [connected, setConnected] = useState(true);
  // Deleted here, while their machines are still ending: what is heard of those is no news.
  const dropped = useRef(new Set<string>());
  const put = useCallback((workspace: Workspace) => {
    dropped.current.delete(workspace.id);
    setKnown((known) => withWorkspace(known ?? new Map(), workspace));
  }, []);
  const forget = useCallback((id: string) => setKnown((known) => known && withoutWorkspace(known, id)), []);
  const drop = useCallback(
    (id: string) => {
      dropped.current.add(id);
      forget(id);
    },
    [forget],
  );
  useEffect(() => {
    const readAll = () => {
      calls.list().then(
        (list) => {
          setFailure(null);
          const there = list.filter(({ id }) => !dropped.current.has(id));
          setKnown((known) => withList(known ?? new Map(), there));
        },
        (error: unknown) => setFailure(error),
      );
    };
    readAll();
    return listen({
      path: "/workspaces/events",
      probe: "/auth/session",
      handlers: {
        workspace: (data) => {
          const workspace = data as Workspace;
          if (!dropped.current.has(workspace.id)) put(workspace);
        },
        deleted: (data) => {
          const { id } = data as { id: string };
          dropped.current.delete(id);
          forget(id);
        },
      },
      onState: (open) => {
        setConnected(open);
        if (open) readAll(); // what was deleted while we did not listen
      },
      onGone: () => undefined,
    });
  }, [put, forget]);
  return { workspaces: known, failure, connected, put, drop };
}

export interface LiveWorkspace {
  workspace: Workspace | null;
  gone: boolean;
  connected: boolean;
  put: (workspace: Workspace) => void;
}

export function useLiveWorkspace(id: string): LiveWorkspace {
  const [known, setKnown] = useState<Workspaces>(new Map());
  const [gone, setGone] = useState(false);
  const [connected, setConnected] = useState(false);
  const put = useCallback((workspace: Workspace) => setKnown((known) => withWorkspace(known, workspace)), []);
  useEffect(
    () =>
      listen({
        path: `/workspaces/${id}/events`,
        probe: `/workspaces/${id}`,
        handlers: { workspace: (data) => put(data as Workspace), deleted: () => setGone(true) },
        onState: setConnected,
        onGone: () => setGone(true),
      }),
    [id, put],
  );
  return { workspace: known.get(id) ?? null, gone, connected, put };
}
