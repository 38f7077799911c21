// The snapshots of a home: loads the newest page first, then the older ones, and new ones as they
// are committed.
import { useCallback, useEffect, useRef, useState } from "react";
import { snapshotsApi } from "../api/endpoints";
import type { Snapshot, SnapshotList } from "../api/types";
import { pointsOf, withPage, withPoint, type Point } from "./timeline-model";

/** Limit of snapshots to load. A retention policy normally keeps a few thousand. */
const MAX_POINTS = 20_000;
/** The server's largest page. */
const MAX_PAGE = 1000;
/**
 * Page size of a refresh. A running workspace commits one every few seconds, so this reaches back
 * to the known ones.
 */
const NEWEST_PAGE = 30;
/** Refresh at most this often. */
const REFRESH_INTERVAL_MS = 3_000;

export interface Snapshots {
  /** Oldest first. Null until the first response. */
  points: readonly Point[] | null;
  /** All snapshots are loaded, back to the oldest. */
  complete: boolean;
  failure: unknown;
  retry: () => void;
  update: (snapshot: Snapshot) => void;
  remove: (id: string) => void;
}

/** A change of `revision`, the workspace's, means that there may be new snapshots. */
export function useSnapshots(workspace: string, revision: number | undefined): Snapshots {
  const [points, setPoints] = useState<readonly Point[] | null>(null);
  const [complete, setComplete] = useState(false);
  const [failure, setFailure] = useState<unknown>(null);
  const [attempt, setAttempt] = useState(0);
  const lastRequest = useRef(0);
  const latest = useRef(points);
  useEffect(() => {
    latest.current = points;
  });

  useEffect(() => {
    const controller = new AbortController();
    const readAll = async () => {
      let before: string | null = null;
      for (let count = 0; count < MAX_POINTS;) {
        const { snapshots, more }: SnapshotList = await snapshotsApi.list(
          workspace,
          MAX_PAGE,
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
    lastRequest.current = Date.now();
    setFailure(null);
    readAll().catch((error: unknown) => {
      if (!controller.signal.aborted) setFailure(error);
    });
    return () => controller.abort();
  }, [workspace, attempt]);

  const refresh = useCallback(async () => {
    lastRequest.current = Date.now();
    const newest = latest.current?.at(-1)?.at ?? 0;
    const few = pointsOf((await snapshotsApi.list(workspace, NEWEST_PAGE, null)).snapshots);
    // The page does not reach back to the known snapshots, for example after sleep: load all again.
    const gap = few.length === NEWEST_PAGE && (few[0]?.at ?? 0) > newest;
    if (gap) setAttempt((attempt) => attempt + 1);
    else setPoints((known) => withPage(known ?? [], few));
  }, [workspace]);

  const known = points !== null;
  useEffect(() => {
    if (revision === undefined || !known) return;
    const wait = Math.max(0, lastRequest.current + REFRESH_INTERVAL_MS - Date.now());
    const timer = setTimeout(() => {
      // The next change refreshes again.
      refresh().catch((error: unknown) => console.warn("cannot load the newest snapshots", error));
    }, wait);
    return () => clearTimeout(timer);
  }, [revision, known, refresh]);

  const retry = useCallback(() => setAttempt((attempt) => attempt + 1), []);
  const update = useCallback((snapshot: Snapshot) => {
    setPoints((known) => pointsOf([snapshot]).reduce(withPoint, known ?? []));
  }, []);
  const remove = useCallback((id: string) => {
    setPoints((known) => known && known.filter((point) => point.id !== id));
  }, []);
  return { points, complete, failure, retry, update, remove };
}
