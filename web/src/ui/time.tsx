// Times that update by themselves: relative, elapsed, and the clock behind them.
import { useEffect, useState } from "react";
import { duration, relative } from "./format";

/** The time now, again every `ms` while the page is looked at. */
export function useNow(ms: number, live = true): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!live) return;
    const timer = setInterval(() => setNow(Date.now()), ms);
    return () => clearInterval(timer);
  }, [ms, live]);
  return now;
}

export function Moment({ at }: { at: string }) {
  const now = useNow(30_000);
  return (
    <time dateTime={at} title={new Date(at).toLocaleString()}>
      {relative(at, now)}
    </time>
  );
}

/** Time that passes since a moment. */
export function Since({ at, until }: { at: string; until?: string | undefined }) {
  const now = useNow(200, until === undefined);
  return <>{duration((until === undefined ? now : Date.parse(until)) - Date.parse(at))}</>;
}
