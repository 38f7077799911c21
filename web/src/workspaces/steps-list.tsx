// The steps of a start or stop as a vertical list, with their times.
import type { Workspace } from "../api/types";
import { ElapsedTime } from "../ui/time";
import { stepLabel } from "./phases";
import { stepLines } from "./step-lines";

export function StepsList({ workspace }: { workspace: Workspace }) {
  const lines = stepLines(workspace);
  if (lines.length === 0) return null;
  return (
    <ol className="steps" aria-label="Steps">
      {lines.map((line) => (
        <li
          key={line.step}
          className={line.state}
          aria-current={line.state === "running" ? "step" : undefined}
        >
          <span>
            {stepLabel(line.step)}
            {line.detail && <span className="soft"> · {line.detail}</span>}
          </span>
          {line.since && line.state !== "failed" && line.step !== "ready" && (
            <time className="soft">
              <ElapsedTime at={line.since} until={line.until} />
            </time>
          )}
        </li>
      ))}
    </ol>
  );
}
