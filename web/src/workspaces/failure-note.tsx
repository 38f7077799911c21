// Why a workspace failed: the step, the cause, what to do next, and the console of its sandbox.
import type { Workspace } from "../api/types";
import { failureTitle, isTransitioning } from "./phases";

/** The last lines of the console usually explain the failure. */
const LAST_LINES = 12;

interface NoteProps {
  workspace: Workspace;
  /** Whether the console's last lines are shown. If not, they are in a closed disclosure. */
  open?: boolean;
}

export function FailureNote({ workspace, open = false }: NoteProps) {
  const failure = workspace.failure;
  if (!failure) return null;
  if (isTransitioning(workspace.phase))
    return (
      <p className="notice" role="status">
        <strong>{failureTitle(failure.step)}</strong> {failure.cause} Retrying…
      </p>
    );
  const log = failure.log ?? [];
  return (
    <>
      <div className="notice bad" role="alert">
        <p>
          <strong>{failureTitle(failure.step)}</strong> {failure.cause}
        </p>
        <p>{failure.action}</p>
      </div>
      {log.length > 0 && (
        <div className="failure-log">
          {open && (
            <>
              <h3>Last lines of the console</h3>
              <Console lines={log.slice(-LAST_LINES)} />
            </>
          )}
          {(!open || log.length > LAST_LINES) && (
            <details>
              <summary>{open ? `All ${log.length} lines` : "Console"}</summary>
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
    <pre className="console" tabIndex={0} aria-label="Console">
      {lines.join("\n")}
    </pre>
  );
}
