// "Safe up to": the time before which everything in a home is in the object store. Only the server
// moves it: the browser's clock proves nothing about the home.
import type { Workspace } from "../api/types";
import { homeSafety } from "./home-status";
import { useNow } from "../ui/time";
import { formatInstant, formatFullInstant } from "../ui/format";

interface Props {
  workspace: Workspace;
  /** Whether the event stream is connected. */
  connected: boolean;
}

/** "Safe up to 14:03:22" */
export function SafeUpTo({ workspace, connected }: Props) {
  const now = useNow(30_000);
  const { at, late, tooltip } = homeSafety(workspace);
  if (at === null) return <>Not saved yet</>;
  return (
    <>
      Safe up to{" "}
      <time
        className={late ? "safe-at late" : "safe-at"}
        dateTime={new Date(at).toISOString()}
        title={[tooltip, formatFullInstant(at), connected ? "" : "The server cannot be reached now."].join(
          " ",
        )}
      >
        {formatInstant(at, now)}
      </time>
    </>
  );
}
