// Why a workspace failed: the step, the cause, what to do next, and the console of its sandbox.
import type { Workspace } from "../api/types";
import { failedWords, isMoving } from "./phases";

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
