// "Safe up to": the time before which everything in a home is in the object store. Follows the
// clock while all of it is.
import type { Workspace } from "../api/types";
import { homeSafety } from "./home-status";
import { useNow } from "../ui/time";
import { formatInstant, formatFullInstant } from "../ui/format";

interface Props {
  workspace: Workspace;
  /** Whether the event stream is connected. If not, the clock stops, since it could promise too much. */
  connected: boolean;
}

/** "Safe up to 14:03:22" */
export function SafeUpTo({ workspace, connected }: Props) {
  const ticking = workspace.phase === "running" && workspace.unreplicated_seconds === 0;
  const now = useNow(1000, ticking && connected);
  const { at, late, tooltip } = homeSafety(workspace, now);
  if (at === null) return <>Not saved yet</>;
  return (
    <>
      Safe up to{" "}
      <time
        className={late ? "safe-at late" : "safe-at"}
        dateTime={new Date(at).toISOString()}
        title={`${tooltip} ${formatFullInstant(at)}`}
      >
        {formatInstant(at, now)}
      </time>
    </>
  );
}
