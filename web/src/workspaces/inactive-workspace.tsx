// A workspace that has no machine to work in: it starts, stops, rests, or did not start. What happens, and what can be done.
import type { Workspace } from "../api/types";
import { ForkedFrom } from "./forked-from";
import { FailureNote } from "./failure-note";
import { Steps } from "./steps-list";
import { Since } from "../ui/time";
import { Link } from "../ui/router";
import { copyText } from "../ui/toasts";
import { canStart, canStop, failedWords, isMoving, phaseWord, startSteps, stepWord } from "./phases";

interface Props {
  workspace: Workspace;
  onStart: () => void;
  onStop: () => void;
}

export function NotRunning({ workspace, onStart, onStop }: Props) {
  const writable = workspace.access === "write";
  const moving = isMoving(workspace.phase);
  const failure = moving ? null : workspace.failure;
  const [first] = workspace.steps;
  return (
    <main className="gate start-gate" aria-busy={moving}>
      <section className="panel start-card" data-failed={Boolean(failure)}>
        <div>
          <h2>{titleOf(workspace)}</h2>
          <p className="soft">
            <span role="status">{statusOf(workspace)}</span>
            {moving && first && (
              <time className="start-total">
                <Since at={first.since} />
              </time>
            )}
          </p>
        </div>
        {workspace.forked_from && (
          <p className="soft small">
            <ForkedFrom origin={workspace.forked_from} />
          </p>
        )}
        {(moving || failure) && <Steps workspace={workspace} />}
        <FailureNote workspace={workspace} open />
        <div className="start-actions">
          {writable && canStart(workspace.phase) && (
            <button className="button primary" onClick={onStart} autoFocus>
              {failure ? "Try again" : "Start"}
            </button>
          )}
          {writable && moving && canStop(workspace.phase) && (
            <button className="button" onClick={onStop}>
              Cancel
            </button>
          )}
          {!moving && (
            <Link className="button" href={`/workspaces/${workspace.id}/history`}>
              Open the history
            </Link>
          )}
          {failure && (
            <button className="button" onClick={() => void copyText(detailsOf(workspace), "Details")}>
              Copy the details
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
  return startSteps.includes(failure.step) ? `${name} did not start` : `${name} has ended unexpectedly`;
}

function statusOf(workspace: Workspace): string {
  const { phase, queue_position: place, failure, safe_at: safe } = workspace;
  if (phase === "queued" && place) return `${phaseWord(phase)}, place ${place}`;
  if (isMoving(phase)) return phaseWord(phase);
  if (!failure) return safe ? "The home is saved. Start it to go on." : "Start it to begin.";
  return safe ? "The home is as it was saved last." : "Nothing was written to its home yet.";
}

/** What whoever looks after the server wants to know. */
function detailsOf({ name, id, failure, steps }: Workspace): string {
  const lines = steps.map(
    ({ step, since, detail }) => `${since} ${stepWord(step)}${detail ? ` · ${detail}` : ""}`,
  );
  const why = failure ? [`${failedWords(failure.step)} ${failure.cause}`, ...(failure.log ?? [])] : [];
  return [`${name} (${id})`, ...lines, ...why].join("\n");
}
