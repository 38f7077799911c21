// The state of a workspace as a dot and a word.
import type { Workspace } from "../api/types";
import { phaseLabel, toneOf } from "./phases";

export function WorkspaceState({
  workspace,
}: {
  workspace: Pick<Workspace, "phase" | "failure" | "queue_position">;
}) {
  const failed = workspace.failure && workspace.phase === "terminated";
  const place =
    workspace.phase === "queued" && workspace.queue_position ? ` (${workspace.queue_position})` : "";
  return (
    <span className="state" data-phase={workspace.phase}>
      <span className={`dot ${toneOf(workspace)}`} />
      {failed ? "Failed" : phaseLabel(workspace.phase) + place}
    </span>
  );
}
