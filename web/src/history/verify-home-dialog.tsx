// Verifies a home: reads every object from the store and reports damage.
import { useEffect, useRef, useState } from "react";
import { snapshotsApi } from "../api/endpoints";
import type { ScrubReport, Workspace } from "../api/types";
import { Dialog } from "../ui/dialog";
import { Failure } from "../ui/failure";
import { SegmentedControl } from "../ui/segmented-control";
import { ElapsedTime } from "../ui/time";
import { copyText } from "../ui/toasts";
import { formatBytes } from "../ui/format";

/** Damaged objects listed. The Copy button copies all of them. */
const MAX_LISTED = 200;

type Which = "newest" | "all";
type State =
  | { type: "options" }
  | { type: "verifying"; since: string }
  | { type: "failed"; error: unknown }
  | { type: "report"; report: ScrubReport };

export function VerifyHomeDialog({ workspace, onClose }: { workspace: Workspace; onClose: () => void }) {
  const [which, setWhich] = useState<Which>("newest");
  const [state, setState] = useState<State>({ type: "options" });
  const work = useRef<AbortController | null>(null);
  useEffect(() => () => work.current?.abort(), []);
  const verify = () => {
    const controller = new AbortController();
    work.current = controller;
    setState({ type: "verifying", since: new Date().toISOString() });
    snapshotsApi.scrub(workspace.id, which === "all", controller.signal).then(
      (report) => setState({ type: "report", report }),
      (error: unknown) => {
        if (!controller.signal.aborted) setState({ type: "failed", error });
      },
    );
  };
  const stop = () => {
    work.current?.abort();
    setState({ type: "options" });
  };
  const verifying = state.type === "verifying";
  return (
    <Dialog title={`Verify the home of ${workspace.name}`} wide onClose={onClose}>
      <div className="form">
        {(state.type === "options" || verifying) && (
          <>
            <p>
              Reads every object of the home from the object store and verifies it. Nothing is changed, and
              the workspace can keep running.
            </p>
            <SegmentedControl
              label="What to verify"
              options={[
                ["newest", "The newest snapshot"],
                ["all", "All snapshots"],
              ]}
              value={which}
              onChange={(which) => {
                if (!verifying) setWhich(which);
              }}
            />
          </>
        )}
        {verifying && (
          <div className="restore-wait">
            <p className="soft" role="status">
              Verifying objects…{" "}
              <span aria-hidden="true">
                <ElapsedTime at={state.since} />
              </span>
            </p>
            <progress aria-label="Verifying" />
          </div>
        )}
        {state.type === "failed" && <Failure error={state.error} onRetry={verify} />}
        {state.type === "report" && <Report report={state.report} />}
        <div className="form-actions">
          {verifying ? (
            <button type="button" className="button" onClick={stop}>
              Cancel
            </button>
          ) : (
            <button type="button" className="button" onClick={onClose}>
              {state.type === "options" ? "Cancel" : "Close"}
            </button>
          )}
          {state.type === "options" && (
            <button type="button" className="button primary" onClick={verify}>
              Verify home
            </button>
          )}
        </div>
      </div>
    </Dialog>
  );
}

function Report({ report }: { report: ScrubReport }) {
  const { snapshots, objects, bytes, damaged } = report;
  const what = `${count(objects, "object")} of ${count(snapshots, "snapshot")}, ${formatBytes(bytes)}`;
  if (damaged.length === 0)
    return (
      <p className="notice good" role="status">
        <strong>No damage found.</strong> Verified {what}.
      </p>
    );
  const text = damaged.map(({ object, message }) => `${object}\t${message}`).join("\n");
  return (
    <>
      <div className="notice bad" role="alert">
        <p>
          <strong>{count(damaged.length, "damaged object")} found.</strong> Read: {what}.
        </p>
        <p>
          Files in damaged objects cannot be read. If the workspace is running, keep it running: its host may
          still have the data. An earlier snapshot may be intact: find it on the timeline and fork it. Send
          the names to the operator of the object store.
        </p>
      </div>
      <ul className="restore-list" aria-label="Damaged objects" tabIndex={0}>
        {damaged.slice(0, MAX_LISTED).map(({ object, message }) => (
          <li key={object}>
            <span className="change-kind removed" aria-hidden="true">
              !
            </span>
            <code className="restore-path" title={object}>
              {object}
            </code>
            <span className="soft small">{message}</span>
          </li>
        ))}
      </ul>
      <button type="button" className="link-button" onClick={() => void copyText(text, "List")}>
        Copy the names
      </button>
    </>
  );
}

const count = (number: number, noun: string) =>
  `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
