// The snapshots of a home as the page knows them: the newest first, the older ones behind them, new ones as they come.
import { useCallback, useEffect, useRef, useState } from "react";
import { snapshots as calls } from "../api/calls";
import type { Snapshot } from "../api/types";
import { pointsOf, withPage, withPoint, type Point } from "./timeline-model";

/** What retention leaves of a home is a few thousand; more than this is not drawn. */
const POINTS_MAX = 20_000;
/** A machine that writes makes one every few seconds: asking as often would cost more than it tells. */
const REFRESH_MS = 10_000;

export interface Snapshots {
  /** Oldest first; none until the first answer. */
  points: readonly Point[] | null;
  /** The oldest are known too. */
  complete: boolean;
  failure: unknown;
  retry: () => void;
  put: (snapshot: Snapshot) => void;
  drop: (id: string) => void;
  /** Asks for the newest at once. */
  refresh: () => Promise<void>;
}

/** `revision` says that there may be new ones. */
export function useSnapshots(workspace: string, revision: number | undefined): Snapshots {
  const [points, setPoints] = useState<readonly Point[] | null>(null);
  const [complete, setComplete] = useState(false);
  const [failure, setFailure] = useState<unknown>(null);
  const [attempt, setAttempt] = useState(0);
  const asked = useRef(0);

  useEffect(() => {
    const controller = new AbortController();
    const readAll = async () => {
      let before: string | undefined;
      for (let count = 0; count < POINTS_MAX;) {
        const { snapshots, more } = await calls.list(workspace, before, controller.signal);
        const page = pointsOf(snapshots);
        const end = before === undefined ? undefined : Date.parse(before);
        setPoints((known) => withPage(known ?? [], page, end));
        before = page[0]?.created_at;
        count += page.length;
        if (!more || before === undefined) break;
      }
      setComplete(true);
    };
    asked.current = Date.now();
    setFailure(null);
    readAll().catch((error: unknown) => {
      if (!controller.signal.aborted) setFailure(error);
    });
    return () => controller.abort();
  }, [workspace, attempt]);

  const refresh = useCallback(async () => {
    asked.current = Date.now();
    const { snapshots } = await calls.list(workspace);
    setPoints((known) => withPage(known ?? [], pointsOf(snapshots)));
  }, [workspace]);

  const known = points !== null;
  useEffect(() => {
    if (revision === undefined || !known) return;
    const wait = Math.max(0, asked.current + REFRESH_MS - Date.now());
    const timer = setTimeout(() => {
      // The next change asks again.
      refresh().catch((error: unknown) => console.warn("the newest snapshots cannot be read", error));
    }, wait);
    return () => clearTimeout(timer);
  }, [revision, known, refresh]);

  const retry = useCallback(() => setAttempt((attempt) => attempt + 1), []);
  const put = useCallback((snapshot: Snapshot) => {
    setPoints((known) => pointsOf([snapshot]).reduce(withPoint, known ?? []));
  }, []);
  const drop = useCallback((id: string) => {
    setPoints((known) => known && known.filter((point) => point.id !== id));
  }, []);
  return { points, complete, failure, retry, put, drop, refresh };
}
