// Whether a home's objects are what they were: asked for, waited for, told.
import { useEffect, useRef, useState } from "react";
import { snapshots } from "../api/endpoints";
import type { ScrubReport, Workspace } from "../api/types";
import { Dialog } from "../ui/dialog";
import { Failure } from "../ui/failure";
import { Choice } from "../ui/segmented-control";
import { Since } from "../ui/time";
import { copyText } from "../ui/toasts";
import { size } from "../ui/format";

/** So many are listed; all of them are copied. */
const MAX_LISTED = 200;

type Which = "newest" | "all";
type State =
  | { type: "asked" }
  | { type: "checking"; since: string }
  | { type: "failed"; error: unknown }
  | { type: "told"; checked: ScrubReport };

export function CheckDialog({ workspace, onClose }: { workspace: Workspace; onClose: () => void }) {
  const [which, setWhich] = useState<Which>("newest");
  const [state, setState] = useState<State>({ type: "asked" });
  const work = useRef<AbortController | null>(null);
  useEffect(() => () => work.current?.abort(), []);
  const check = () => {
    const controller = new AbortController();
    work.current = controller;
    setState({ type: "checking", since: new Date().toISOString() });
    snapshots.check(workspace.id, which === "all", controller.signal).then(
      (checked) => setState({ type: "told", checked }),
      (error: unknown) => {
        if (!controller.signal.aborted) setState({ type: "failed", error });
      },
    );
  };
  const stop = () => {
    work.current?.abort();
    setState({ type: "asked" });
  };
  const checking = state.type === "checking";
  return (
    <Dialog title={`Check the home of ${workspace.name}`} wide onClose={onClose}>
      <div className="form">
        {(state.type === "asked" || checking) && (
          <>
            <p>
              Reads from the store every object that the home is made of, and opens each. Nothing is changed,
              and a running machine goes on.
            </p>
            <Choice
              label="What is checked"
              options={[
                ["newest", "The newest snapshot"],
                ["all", "All snapshots"],
              ]}
              value={which}
              onChange={(which) => {
                if (!checking) setWhich(which);
              }}
            />
          </>
        )}
        {checking && (
          <div className="restore-wait">
            <p className="soft" role="status">
              Reading and opening objects…{" "}
              <span aria-hidden="true">
                <Since at={state.since} />
              </span>
            </p>
            <progress aria-label="Checking" />
          </div>
        )}
        {state.type === "failed" && <Failure error={state.error} onRetry={check} />}
        {state.type === "told" && <Told checked={state.checked} />}
        <div className="form-actions">
          {checking ? (
            <button type="button" className="button" onClick={stop}>
              Stop
            </button>
          ) : (
            <button type="button" className="button" onClick={onClose}>
              {state.type === "asked" ? "Cancel" : "Close"}
            </button>
          )}
          {state.type === "asked" && (
            <button type="button" className="button primary" onClick={check}>
              Check it
            </button>
          )}
        </div>
      </div>
    </Dialog>
  );
}

function Told({ checked }: { checked: ScrubReport }) {
  const { snapshots, objects, bytes, damaged } = checked;
  const what = `${count(objects, "object")} of ${count(snapshots, "snapshot")}, ${size(bytes)}`;
  if (damaged.length === 0)
    return (
      <p className="notice good" role="status">
        <strong>The home is sound.</strong> {what}: each is what it was when it was written.
      </p>
    );
  const text = damaged.map(({ object, message }) => `${object}\t${message}`).join("\n");
  return (
    <>
      <div className="notice bad" role="alert">
        <p>
          <strong>{count(damaged.length, "object")} damaged.</strong> Read: {what}.
        </p>
        <p>
          What rests on damaged objects cannot be read. Leave the machine running if it runs: its host may
          still have the data. An earlier point may be whole: look for it along the time line and fork from
          there. Give the names to whoever looks after the store.
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
      <button type="button" className="link-button" onClick={() => void copyText(text, "The list")}>
        Copy the names
      </button>
    </>
  );
}

const count = (number: number, noun: string) =>
  `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
