// The steps of a start or stop with their times, and what to do when one failed.
import type { Step, Workspace } from "../api/types";
import { Since } from "../ui/parts";
import { failedWords, isMoving, startSteps, stepWord, stopSteps } from "../ui/words";

export interface StepLine {
  step: Step;
  state: "done" | "now" | "failed" | "ahead";
  since?: string;
  until?: string;
  detail?: string;
}

/** What has been, what is, what will be. Steps that the runner skipped are not shown as ahead. */
export function stepLines(workspace: Pick<Workspace, "steps" | "phase" | "failure">): StepLine[] {
  const stopping = workspace.phase === "stopping" || workspace.phase === "persisting";
  // While it is tried again, the failure is the attempt's before.
  const failed = isMoving(workspace.phase) ? undefined : workspace.failure?.step;
  const known = workspace.steps;
  if (failed && known.length === 0) return untilFailed(failed);
  const lines: StepLine[] = known.map((progress, index) => {
    const next = known[index + 1];
    const last = next === undefined;
    const done = !last || progress.step === "ready";
    return {
      step: progress.step,
      state: progress.step === failed ? "failed" : done ? "done" : failed ? "done" : "now",
      since: progress.since,
      ...(next ? { until: next.since } : {}),
      ...(progress.detail ? { detail: progress.detail } : {}),
    };
  });
  if (failed || workspace.phase === "terminated" || workspace.phase === "running") return lines;
  const order = stopping ? stopSteps : startSteps;
  const reached = order.indexOf(known.at(-1)?.step ?? "queue");
  const ahead = order.slice(reached + 1).filter((step) => !known.some((progress) => progress.step === step));
  return [...lines, ...ahead.map((step): StepLine => ({ step, state: "ahead" }))];
}

/** Their times are not known any more. A machine that broke while it ran had them all behind it. */
function untilFailed(failed: Step): StepLine[] {
  const order = startSteps.includes(failed) ? startSteps : stopSteps;
  const at = order.indexOf(failed);
  return order.slice(0, at + 1).map((step, index) => ({ step, state: index < at ? "done" : "failed" }));
}

export function Steps({ workspace }: { workspace: Workspace }) {
  const lines = stepLines(workspace);
  if (lines.length === 0) return null;
  return (
    <ol className="steps" aria-label="Steps">
      {lines.map((line) => (
        <li key={line.step} className={line.state} aria-current={line.state === "now" ? "step" : undefined}>
          <span>
            {stepWord(line.step)}
            {line.detail && <span className="soft"> · {line.detail}</span>}
          </span>
          {line.since && line.state !== "failed" && line.step !== "ready" && (
            <time className="soft">
              <Since at={line.since} until={line.until} />
            </time>
          )}
        </li>
      ))}
    </ol>
  );
}

/** The end of a console says most of why it ended. */
const LAST_LINES = 12;

interface NoteProps {
  workspace: Workspace;
  /** Whether the console's last lines are in sight at once; else they are behind a fold. */
  open?: boolean;
}

/** Which step failed, why, what to do next, and the machine's console. */
export function FailureNote({ workspace, open = false }: NoteProps) {
  const failure = workspace.failure;
  if (!failure) return null;
  if (isMoving(workspace.phase))
    return (
      <p className="notice" role="status">
        <strong>{failedWords(failure.step)}</strong> {failure.cause} It is tried again.
      </p>
    );
  const log = failure.log ?? [];
  return (
    <>
      <div className="notice bad" role="alert">
        <p>
          <strong>{failedWords(failure.step)}</strong> {failure.cause}
        </p>
        <p>{failure.action}</p>
      </div>
      {log.length > 0 && (
        <div className="failure-log">
          {open && (
            <>
              <h3>Last lines of the machine’s console</h3>
              <Console lines={log.slice(-LAST_LINES)} />
            </>
          )}
          {(!open || log.length > LAST_LINES) && (
            <details>
              <summary>{open ? `All ${log.length} lines` : "Console of the machine"}</summary>
              <Console lines={log} />
            </details>
          )}
        </div>
      )}
    </>
  );
}

function Console({ lines }: { lines: readonly string[] }) {
  return (
    <pre className="console" tabIndex={0} aria-label="Console of the machine">
      {lines.join("\n")}
    </pre>
  );
}
