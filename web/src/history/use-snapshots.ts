// The snapshots of a home as the page knows them: the newest first, the older ones behind them, new ones as they come.
import { useCallback, useEffect, useRef, useState } from "react";
import { snapshots as calls } from "../api/endpoints";
import type { Snapshot, SnapshotList } from "../api/types";
import { pointsOf, withPage, withPoint, type Point } from "./timeline-model";

/** What retention leaves of a home is a few thousand; more than this is not drawn. */
const MAX_POINTS = 20_000;
/** The most that the server gives at once. */
const PAGE = 1000;
/** A machine that writes makes one every few seconds: a few are enough to meet those that are known. */
const NEWEST_PAGE = 30;
/** Asked no more often, however often it changes. */
const REFRESH_MS = 3_000;

export interface Snapshots {
  /** Oldest first; none until the first answer. */
  points: readonly Point[] | null;
  /** The oldest are known too. */
  complete: boolean;
  failure: unknown;
  retry: () => void;
  put: (snapshot: Snapshot) => void;
  drop: (id: string) => void;
}

/** `revision` says that there may be new ones. */
export function useSnapshots(workspace: string, revision: number | undefined): Snapshots {
  const [points, setPoints] = useState<readonly Point[] | null>(null);
  const [complete, setComplete] = useState(false);
  const [failure, setFailure] = useState<unknown>(null);
  const [attempt, setAttempt] = useState(0);
  const asked = useRef(0);
  const latest = useRef(points);
  useEffect(() => {
    latest.current = points;
  });

  useEffect(() => {
    const controller = new AbortController();
    const readAll = async () => {
      let before: string | null = null;
      for (let count = 0; count < MAX_POINTS;) {
        const { snapshots, more }: SnapshotList = await calls.list(
          workspace,
          PAGE,
          before,
          controller.signal,
        );
        const page = pointsOf(snapshots);
        const end = before === null ? undefined : Date.parse(before);
        setPoints((known) => withPage(known ?? [], page, end));
        before = page[0]?.created_at ?? null;
        count += page.length;
        if (!more || before === null) break;
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
    const newest = latest.current?.at(-1)?.at ?? 0;
    const few = pointsOf((await calls.list(workspace, NEWEST_PAGE, null)).snapshots);
    // They do not reach back to what is known: the page was asleep.
    const gap = few.length === NEWEST_PAGE && (few[0]?.at ?? 0) > newest;
    if (gap) setAttempt((attempt) => attempt + 1);
    else setPoints((known) => withPage(known ?? [], few));
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
  return { points, complete, failure, retry, put, drop };
}
