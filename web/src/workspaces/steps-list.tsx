// The steps of a start or stop with their times, and what to do when one failed.
import type { Workspace } from "../api/types";
import { Since } from "../ui/time";
import { stepWord } from "./phases";
import { stepLines } from "./step-lines";

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
