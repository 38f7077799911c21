// Bringing a file or a folder back: what it would do, how far it is, what became of it, and the way back.
import { useEffect, useRef, useState } from "react";
import { snapshots } from "../api/endpoints";
import type { Snapshot, Workspace } from "../api/types";
import { Dialog } from "../ui/dialog";
import { Failure } from "../ui/failure";
import { instant, size, wholeInstant } from "../ui/format";
import { nameOf, shown } from "../files/paths";
import {
  carryOut,
  lookAhead,
  takeBack,
  TooMany,
  type Done,
  type Failed,
  type Outcome,
} from "./restore-files";
import { bytesOf, type Deed, type Plan, type Refused } from "./restore-plan";
import type { Point } from "./timeline-model";

/** So many paths are listed; the rest is counted. */
const MAX_LISTED = 300;
/** As the server takes a name of a snapshot. */
const MAX_NAME_LETTERS = 30;

/** What was brought back, and how that is undone. */
export interface Restored {
  path: string;
  at: number;
  before: Snapshot;
  done: readonly Done[];
}

type State =
  | { type: "looking" }
  | { type: "failed"; error: unknown }
  | { type: "plan"; plan: Plan }
  | { type: "saving" }
  | { type: "working"; words: string; path: string; done: number; all: number }
  | { type: "over"; words: string; failed: readonly Failed[] };

interface Props {
  workspace: Workspace;
  point: Point;
  path: string;
  /** Given: it is taken back. */
  undo: Restored | null;
  /** What a folder is compared with. */
  newest: Point;
  /** A snapshot was taken. */
  onTaken: (snapshot: Snapshot) => void;
  onRestored: (restored: Restored | null) => void;
  onClose: () => void;
}

export function RestoreDialog(props: Props) {
  const { workspace, point, path, undo, newest, onTaken, onRestored, onClose } = props;
  const [state, setState] = useState<State>({ type: "looking" });
  const [attempt, setAttempt] = useState(0);
  const work = useRef(new AbortController());
  /** The snapshot that the look is of: a newer one is looked at, until the work begins. */
  const [looked, setLooked] = useState(newest.id);
  if (state.type === "plan" && looked !== newest.id) setLooked(newest.id);
  const name = shown(nameOf(path));

  useEffect(() => {
    const controller = new AbortController();
    work.current = controller;
    const put = (state: State) => {
      if (!controller.signal.aborted) setState(state);
    };
    const failed = (error: unknown) => put({ type: "failed", error });
    if (undo) {
      const all = undo.done.length;
      const tell = (path: string, done: number) =>
        put({ type: "working", words: "Taking it back", path, done, all });
      tell(path, 0);
      takeBack(workspace.id, undo.before.id, undo.done, { signal: controller.signal, tell }).then(
        ({ failed }) => {
          onRestored(null);
          put({ type: "over", words: `${name} is as it was before.`, failed });
        },
        failed,
      );
    } else {
      setState((state) => (state.type === "plan" ? state : { type: "looking" }));
      // Once the work has begun, what a look finds comes too late.
      const found = (next: State) => {
        if (controller.signal.aborted) return;
        setState((state) => (state.type === "looking" || state.type === "plan" ? next : state));
      };
      lookAhead(workspace.id, point.id, path, controller.signal).then(
        (plan) => found({ type: "plan", plan }),
        (error: unknown) => found({ type: "failed", error }),
      );
    }
    return () => controller.abort();
    // The dialog is of one path and one instant.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [attempt, looked]);

  const restore = async (plan: Plan) => {
    const { signal } = work.current;
    try {
      setState({ type: "saving" });
      const label = [...name].slice(0, MAX_NAME_LETTERS).join("");
      const before = await snapshots.take(workspace.id, `Before restoring ${label}`);
      onTaken(before);
      if (signal.aborted) return;
      const all = plan.deeds.length;
      const outcome = await carryOut(workspace.id, point.id, plan, {
        signal,
        tell: (path, done) => setState({ type: "working", words: "Restoring", path, done, all }),
      });
      if (outcome.done.length > 0) onRestored({ path, at: point.at, before, done: outcome.done });
      setState({ type: "over", words: outcomeWords(outcome, all), failed: outcome.failed });
      if (outcome.done.length === all) onClose();
    } catch (error) {
      if (!signal.aborted) setState({ type: "failed", error });
    }
  };
  const moving = state.type === "saving" || state.type === "working";
  return (
    <Dialog
      title={undo ? `Undo restoring ${name}` : `Restore ${name}`}
      wide
      onClose={() => (moving ? work.current.abort() : onClose())}
    >
      <div className="form restore">
        {!undo && (
          <p>
            <code>~/{shown(path)}</code> as it was on <strong>{wholeInstant(point.at)}</strong>
          </p>
        )}
        <Body state={state} workspace={workspace} newest={newest} onRetry={() => setAttempt(attempt + 1)} />
        <div className="form-actions">
          {moving ? (
            <button
              type="button"
              className="button"
              onClick={() => {
                work.current.abort();
                if (state.type === "saving") onClose();
              }}
            >
              Stop
            </button>
          ) : (
            <button type="button" className="button" onClick={onClose}>
              {state.type === "plan" && state.plan.deeds.length > 0 ? "Cancel" : "Close"}
            </button>
          )}
          {state.type === "plan" && state.plan.deeds.length > 0 && (
            <button type="button" className="button primary" onClick={() => void restore(state.plan)}>
              Restore {countOf(state.plan.deeds)}
            </button>
          )}
        </div>
      </div>
    </Dialog>
  );
}

interface BodyProps {
  state: State;
  workspace: Workspace;
  newest: Point;
  onRetry: () => void;
}

function Body({ state, workspace, newest, onRetry }: BodyProps) {
  switch (state.type) {
    case "looking":
      return (
        <div role="status" className="restore-wait">
          <p className="soft">Comparing it with what is there now…</p>
          <progress aria-label="Comparing" />
        </div>
      );
    case "failed":
      return (
        <>
          <Failure error={state.error} onRetry={onRetry} />
          {state.error instanceof TooMany && (
            <p>
              Restore its folders one by one, or all of it from a terminal:{" "}
              <code>burrow restore {workspace.name}</code>
            </p>
          )}
        </>
      );
    case "plan":
      return <Preview plan={state.plan} newest={newest} />;
    case "saving":
      return (
        <div role="status" className="restore-wait">
          <p className="soft">Keeping what is there now as a snapshot…</p>
          <progress aria-label="Taking a snapshot" />
        </div>
      );
    case "working":
      return (
        <div className="restore-wait">
          <p className="soft" role="status">
            {state.words}: {Math.min(state.done + 1, state.all)} of {state.all}
          </p>
          <progress max={state.all} value={state.done} aria-label={state.words} />
          <p className="soft small restore-path">{shown(state.path)}</p>
        </div>
      );
    case "over":
      return (
        <>
          <p role="status">{state.words}</p>
          {state.failed.length > 0 && (
            <ul className="restore-list" aria-label="What failed">
              {state.failed.slice(0, MAX_LISTED).map(({ path, words }) => (
                <Line key={path} kind="removed" letter="!" path={path} about={words} />
              ))}
            </ul>
          )}
        </>
      );
  }
}

function Preview({ plan, newest }: { plan: Plan; newest: Point }) {
  const { deeds, refused, since } = plan;
  const of = (meets: Deed["meets"]) => deeds.filter((deed) => deed.meets === meets);
  const [back, over, aside] = [of("nothing"), of("file"), of("other")];
  const bytes = deeds.reduce((sum, deed) => sum + bytesOf(deed), 0);
  if (deeds.length === 0 && refused.length === 0)
    return (
      <p role="status">
        Nothing differs from what was saved at {instant(newest.at, Date.now())}. What was written since shows
        in a few seconds.{sinceWords(since)}
      </p>
    );
  const facts = [
    over.length > 0 && `${counted(over.length, "file is", "files are")} overwritten`,
    aside.length > 0 && `${counted(aside.length, "is", "are")} set aside under another name`,
    back.length > 0 && `${counted(back.length, "comes", "come")} back`,
    refused.length > 0 && `${counted(refused.length, "cannot", "cannot")} be restored`,
  ].filter((fact) => fact !== false);
  return (
    <>
      <p role="status">
        {facts.join(", ")}
        {bytes > 0 && ` · ${size(bytes)}`}.{sinceWords(since)}
      </p>
      <ul className="restore-list" aria-label="What it does" tabIndex={0}>
        {refused.slice(0, MAX_LISTED).map((one) => (
          <RefusedLine key={one.path} one={one} />
        ))}
        {[...over, ...aside, ...back].slice(0, MAX_LISTED).map((deed) => (
          <DeedLine key={deed.path} deed={deed} />
        ))}
        {deeds.length + refused.length > MAX_LISTED && (
          <li className="soft small">
            and {(deeds.length + refused.length - MAX_LISTED).toLocaleString("en")} more
          </li>
        )}
      </ul>
      {deeds.length > 0 && (
        <p className="soft small">
          What is there now is kept as a snapshot first, so that this can be undone.
        </p>
      )}
    </>
  );
}

const RefusedLine = ({ one }: { one: Refused }) => (
  <Line kind="removed" letter="!" path={one.path} about={one.reason} />
);

function DeedLine({ deed }: { deed: Deed }) {
  const bytes = deed.past.kind === "file" ? size(deed.past.size) : "";
  if (deed.meets === "file")
    return <Line kind="changed" letter="M" path={deed.path} about={`overwritten · ${bytes}`} />;
  if (deed.meets === "other")
    return <Line kind="changed" letter="S" path={deed.path} about="set aside first" />;
  return <Line kind="added" letter="A" path={deed.path} about={bytes} />;
}

interface LineProps {
  kind: "added" | "removed" | "changed";
  letter: string;
  path: string;
  about: string;
}

function Line({ kind, letter, path, about }: LineProps) {
  return (
    <li>
      <span className={`change-kind ${kind}`} aria-hidden="true">
        {letter}
      </span>
      <span className="restore-path" title={`~/${shown(path)}`}>
        {shown(path)}
      </span>
      <span className="soft small">{about}</span>
    </li>
  );
}

function counted(count: number, one: string, many: string): string {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

function countOf(deeds: readonly Deed[]): string {
  if (deeds.length === 1) return "it";
  const files = deeds.every((deed) => deed.past.kind === "file");
  return counted(deeds.length, "", files ? "files" : "entries");
}

function sinceWords(since: number): string {
  return since === 0 ? "" : ` What was made since stays: ${since.toLocaleString("en")}.`;
}

function outcomeWords({ done, failed }: Outcome, all: number): string {
  if (done.length === all) return "Restored.";
  const stopped = done.length + failed.length < all ? " The rest was not begun." : "";
  return `${done.length.toLocaleString("en")} of ${all.toLocaleString("en")} restored.${stopped}`;
}
