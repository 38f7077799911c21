// The state of a workspace as a dot and a word.
import type { Workspace } from "../api/types";
import { useNow } from "../ui/time";
import { phaseLabel, toneOf } from "./phases";
import { queueText } from "./queue-text";

export function WorkspaceState({
  workspace,
}: {
  workspace: Pick<Workspace, "phase" | "failure" | "queue_position" | "estimated_start_at" | "is_held">;
}) {
  const failed = workspace.failure && workspace.phase === "terminated";
  const now = useNow(10_000, workspace.phase === "queued");
  const place = queueText(workspace, now);
  return (
    <span className="state" data-phase={workspace.phase}>
      <span className={`dot ${toneOf(workspace)}`} />
      {failed ? "Failed" : phaseLabel(workspace.phase)}
      {place && <span className="soft small"> · {place}</span>}
    </span>
  );
}
