// Times that update by themselves: relative, elapsed, and the clock behind them.
import { useEffect, useState } from "react";
import { formatDuration, formatRelative } from "./format";

/** The current time, updated every `ms` while `live`. */
export function useNow(ms: number, live = true): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!live) return;
    const timer = setInterval(() => setNow(Date.now()), ms);
    return () => clearInterval(timer);
  }, [ms, live]);
  return now;
}

export function RelativeTime({ at }: { at: string }) {
  const now = useNow(30_000);
  return (
    <time dateTime={at} title={new Date(at).toLocaleString()}>
      {formatRelative(at, now)}
    </time>
  );
}

/** Time since `at`; stops at `until`. */
export function ElapsedTime({ at, until }: { at: string; until?: string | undefined }) {
  const now = useNow(200, until === undefined);
  return <>{formatDuration((until === undefined ? now : Date.parse(until)) - Date.parse(at))}</>;
}
