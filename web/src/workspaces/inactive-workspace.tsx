// Shown while a workspace is not running: it is starting, stopping, stopped, or failed. Shows
// progress and what the user can do.
import type { Workspace } from "../api/types";
import { useUser } from "../auth/session";
import { UnsavedFiles } from "../editor/unsaved-files";
import { ForkedFrom } from "./forked-from";
import { FailureNote } from "./failure-note";
import { StepsList } from "./steps-list";
import { queueText } from "./queue-text";
import { ElapsedTime, useNow } from "../ui/time";
import { Link } from "../ui/router";
import { copyText } from "../ui/toasts";
import {
  canStart,
  canStop,
  failureTitle,
  isTransitioning,
  phaseLabel,
  startSteps,
  stepLabel,
} from "./phases";

interface Props {
  workspace: Workspace;
  onStart: () => void;
  onStop: () => void;
}

export function InactiveWorkspace({ workspace, onStart, onStop }: Props) {
  const user = useUser();
  const writable = workspace.access === "write";
  const moving = isTransitioning(workspace.phase);
  const failure = moving ? null : workspace.failure;
  const [first] = workspace.steps;
  const now = useNow(10_000, workspace.phase === "queued");
  return (
    <main className="gate start-gate" aria-busy={moving}>
      <section className="panel start-card" data-failed={Boolean(failure)}>
        <div>
          <h2>{titleOf(workspace)}</h2>
          <p className="soft">
            <span role="status">{statusOf(workspace, now)}</span>
            {moving && first && (
              <time className="start-total">
                <ElapsedTime at={first.since} />
              </time>
            )}
          </p>
        </div>
        {workspace.forked_from && (
          <p className="soft small">
            <ForkedFrom origin={workspace.forked_from} />
          </p>
        )}
        {!moving && user && <UnsavedFiles user={user.id} workspace={workspace.id} />}
        {(moving || failure) && <StepsList workspace={workspace} />}
        <FailureNote workspace={workspace} open />
        <div className="start-actions">
          {writable && canStart(workspace.phase) && (
            <button className="button primary" onClick={onStart} autoFocus>
              {failure ? "Retry" : "Start"}
            </button>
          )}
          {writable && moving && canStop(workspace.phase) && (
            <button className="button" onClick={onStop}>
              Cancel
            </button>
          )}
          {!moving && (
            <Link className="button" href={`/workspaces/${workspace.id}/history`}>
              View history
            </Link>
          )}
          {failure && (
            <button className="button" onClick={() => void copyText(detailsOf(workspace), "Details")}>
              Copy details
            </button>
          )}
        </div>
      </section>
    </main>
  );
}

function titleOf({ name, phase, failure }: Workspace): string {
  if (phase === "queued" || phase === "provisioning") return `${name} is starting`;
  if (phase !== "terminated") return `${name} is stopping`;
  if (!failure) return `${name} is stopped`;
  return startSteps.includes(failure.step) ? `${name} failed to start` : `${name} stopped unexpectedly`;
}

function statusOf(workspace: Workspace, now: number): string {
  const { phase, failure, safe_at: safe } = workspace;
  const place = queueText(workspace, now);
  if (place) return `${phaseLabel(phase)}, ${place}`;
  if (isTransitioning(phase)) return phaseLabel(phase);
  if (!failure)
    return safe ? "The home is saved. Start the workspace to continue." : "Start the workspace to begin.";
  return safe ? "The home is as it was last saved." : "Nothing has been saved in the home yet.";
}

/** The details to send to the operator of the server. */
function detailsOf({ name, id, failure, steps }: Workspace): string {
  const lines = steps.map(
    ({ step, since, detail }) => `${since} ${stepLabel(step)}${detail ? ` · ${detail}` : ""}`,
  );
  const why = failure ? [`${failureTitle(failure.step)} ${failure.cause}`, ...(failure.log ?? [])] : [];
  return [`${name} (${id})`, ...lines, ...why].join("\n");
}
