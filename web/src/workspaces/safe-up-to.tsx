// Up to when a home is safe, as text that ticks while all of it is.
import type { Workspace } from "../api/types";
import { safetyOf } from "./home-status";
import { useNow } from "../ui/time";
import { instant, wholeInstant } from "../ui/format";

interface Props {
  workspace: Workspace;
  /** Whether what we know is still being told: without that the clock would promise too much. */
  connected: boolean;
}

/** "Safe up to 14:03:22" */
export function SafeUpTo({ workspace, connected }: Props) {
  const ticking = workspace.phase === "running" && workspace.unreplicated_seconds === 0;
  const now = useNow(1000, ticking && connected);
  const { at, late, about } = safetyOf(workspace, now);
  if (at === null) return <>Nothing saved yet</>;
  return (
    <>
      Safe up to{" "}
      <time
        className={late ? "safe-at late" : "safe-at"}
        dateTime={new Date(at).toISOString()}
        title={`${about} ${wholeInstant(at)}`}
      >
        {instant(at, now)}
      </time>
    </>
  );
}
