// Restores a file or a folder: a preview, then progress, then the result. Also undoes a restore.
import { useEffect, useRef, useState } from "react";
import { snapshotsApi } from "../api/endpoints";
import type { Snapshot, Workspace } from "../api/types";
import { Dialog } from "../ui/dialog";
import { Failure } from "../ui/failure";
import { formatInstant, formatBytes, formatFullInstant } from "../ui/format";
import { nameOf, displayName } from "../files/paths";
import {
  restoreFiles,
  planRestore,
  undoRestore,
  TooManyPaths,
  type RestoredPath,
  type FailedPath,
  type Outcome,
} from "./restore-files";
import { bytesOf, type RestoreAction, type RestorePlan, type SkippedPath } from "./restore-plan";
import type { Point } from "./timeline-model";

/** Paths listed in the preview. The rest is counted. */
const MAX_LISTED = 300;
/** Keeps the snapshot's name within the server's limit. */
const MAX_NAME_LETTERS = 30;

/** A finished restore, with what undo needs. */
export interface CompletedRestore {
  path: string;
  at: number;
  before: Snapshot;
  done: readonly RestoredPath[];
}

type State =
  | { type: "looking" }
  | { type: "failed"; error: unknown }
  | { type: "plan"; plan: RestorePlan }
  | { type: "saving" }
  | { type: "working"; words: string; path: string; done: number; all: number }
  | { type: "over"; words: string; failed: readonly FailedPath[] };

interface Props {
  workspace: Workspace;
  point: Point;
  path: string;
  /** If given, this restore is undone. */
  undo: CompletedRestore | null;
  /** The snapshot that a folder is compared with. */
  newest: Point;
  /** The snapshot before the restore was created. */
  onSnapshotCreated: (snapshot: Snapshot) => void;
  onRestored: (restored: CompletedRestore | null) => void;
  onClose: () => void;
}

export function RestoreFilesDialog(props: Props) {
  const { workspace, point, path, undo, newest, onSnapshotCreated, onRestored, onClose } = props;
  const [state, setState] = useState<State>({ type: "looking" });
  const [attempt, setAttempt] = useState(0);
  const work = useRef(new AbortController());
  /**
   * The newest snapshot that the plan was made with. The plan is updated for newer ones until the
   * restore starts.
   */
  const [looked, setLooked] = useState(newest.id);
  if (state.type === "plan" && looked !== newest.id) setLooked(newest.id);
  const name = displayName(nameOf(path));

  useEffect(() => {
    const controller = new AbortController();
    work.current = controller;
    const put = (state: State) => {
      if (!controller.signal.aborted) setState(state);
    };
    const failed = (error: unknown) => put({ type: "failed", error });
    if (undo) {
      const all = undo.done.length;
      const onProgress = (path: string, done: number) =>
        put({ type: "working", words: "Undoing", path, done, all });
      onProgress(path, 0);
      undoRestore(workspace.id, undo.before.id, undo.done, {
        signal: controller.signal,
        onProgress,
      }).then(({ failed }) => {
        onRestored(null);
        put({ type: "over", words: `Undone. ${name} is as it was before the restore.`, failed });
      }, failed);
    } else {
      setState((state) => (state.type === "plan" ? state : { type: "looking" }));
      // Once the restore has started, a new plan comes too late.
      const found = (next: State) => {
        if (controller.signal.aborted) return;
        setState((state) => (state.type === "looking" || state.type === "plan" ? next : state));
      };
      planRestore(workspace.id, point.id, path, controller.signal).then(
        (plan) => found({ type: "plan", plan }),
        (error: unknown) => found({ type: "failed", error }),
      );
    }
    return () => controller.abort();
    // The other props do not change while the dialog is open.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [attempt, looked]);

  const restore = async (plan: RestorePlan) => {
    const { signal } = work.current;
    try {
      setState({ type: "saving" });
      const label = [...name].slice(0, MAX_NAME_LETTERS).join("");
      const before = await snapshotsApi.create(workspace.id, `Before restoring ${label}`);
      onSnapshotCreated(before);
      if (signal.aborted) return;
      const all = plan.actions.length;
      const outcome = await restoreFiles(workspace.id, point.id, plan, {
        signal,
        onProgress: (path, done) => setState({ type: "working", words: "Restoring", path, done, all }),
      });
      if (outcome.done.length > 0) onRestored({ path, at: point.at, before, done: outcome.done });
      setState({ type: "over", words: outcomeMessage(outcome, all), failed: outcome.failed });
      if (outcome.done.length === all) onClose();
    } catch (error) {
      if (!signal.aborted) setState({ type: "failed", error });
    }
  };
  const moving = state.type === "saving" || state.type === "working";
  return (
    <Dialog
      title={undo ? `Undo restore of ${name}` : `Restore ${name}`}
      wide
      onClose={() => (moving ? work.current.abort() : onClose())}
    >
      <div className="form restore">
        {!undo && (
          <p>
            <code>~/{displayName(path)}</code> from <strong>{formatFullInstant(point.at)}</strong>
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
              {state.type === "plan" && state.plan.actions.length > 0 ? "Cancel" : "Close"}
            </button>
          )}
          {state.type === "plan" && state.plan.actions.length > 0 && (
            <button type="button" className="button primary" onClick={() => void restore(state.plan)}>
              Restore {restoreLabel(state.plan.actions)}
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
          <p className="soft">Comparing with the current files…</p>
          <progress aria-label="Comparing" />
        </div>
      );
    case "failed":
      return (
        <>
          <Failure error={state.error} onRetry={onRetry} />
          {state.error instanceof TooManyPaths && (
            <p>
              Restore its folders one by one, or use the CLI: <code>burrow restore {workspace.name}</code>
            </p>
          )}
        </>
      );
    case "plan":
      return <Preview plan={state.plan} newest={newest} />;
    case "saving":
      return (
        <div role="status" className="restore-wait">
          <p className="soft">Creating a snapshot of the current home…</p>
          <progress aria-label="create a snapshot" />
        </div>
      );
    case "working":
      return (
        <div className="restore-wait">
          <p className="soft" role="status">
            {state.words}: {Math.min(state.done + 1, state.all)} of {state.all}
          </p>
          <progress max={state.all} value={state.done} aria-label={state.words} />
          <p className="soft small restore-path">{displayName(state.path)}</p>
        </div>
      );
    case "over":
      return (
        <>
          <p role="status">{state.words}</p>
          {state.failed.length > 0 && (
            <ul className="restore-list" aria-label="Failed paths">
              {state.failed.slice(0, MAX_LISTED).map(({ path, message }) => (
                <Line key={path} kind="removed" letter="!" path={path} about={message} />
              ))}
            </ul>
          )}
        </>
      );
  }
}

function Preview({ plan, newest }: { plan: RestorePlan; newest: Point }) {
  const { actions, skipped, newerCount } = plan;
  const of = (replaces: RestoreAction["replaces"]) =>
    actions.filter((action) => action.replaces === replaces);
  const [back, over, aside] = [of("nothing"), of("file"), of("other")];
  const bytes = actions.reduce((sum, action) => sum + bytesOf(action), 0);
  if (actions.length === 0 && skipped.length === 0)
    return (
      <p role="status">
        No differences from the snapshot of {formatInstant(newest.at, Date.now())}. Later changes show up in a
        few seconds.{newerNote(newerCount)}
      </p>
    );
  const facts = [
    over.length > 0 && `${counted(over.length, "file is", "files are")} overwritten`,
    aside.length > 0 && `${counted(aside.length, "entry is", "entries are")} renamed first`,
    back.length > 0 && `${counted(back.length, "entry is", "entries are")} added`,
    skipped.length > 0 && `${counted(skipped.length, "entry", "entries")} cannot be restored`,
  ].filter((fact) => fact !== false);
  return (
    <>
      <p role="status">
        {facts.join(", ")}
        {bytes > 0 && ` · ${formatBytes(bytes)}`}.{newerNote(newerCount)}
      </p>
      <ul className="restore-list" aria-label="Preview" tabIndex={0}>
        {skipped.slice(0, MAX_LISTED).map((one) => (
          <SkippedLine key={one.path} one={one} />
        ))}
        {[...over, ...aside, ...back].slice(0, MAX_LISTED).map((action) => (
          <ActionLine key={action.path} action={action} />
        ))}
        {actions.length + skipped.length > MAX_LISTED && (
          <li className="soft small">
            and {(actions.length + skipped.length - MAX_LISTED).toLocaleString("en")} more
          </li>
        )}
      </ul>
      {actions.length > 0 && (
        <p className="soft small">A snapshot of the current home is created first, so you can undo this.</p>
      )}
    </>
  );
}

const SkippedLine = ({ one }: { one: SkippedPath }) => (
  <Line kind="removed" letter="!" path={one.path} about={one.reason} />
);

function ActionLine({ action }: { action: RestoreAction }) {
  const bytes = action.entry.kind === "file" ? formatBytes(action.entry.size) : "";
  if (action.replaces === "file")
    return <Line kind="changed" letter="M" path={action.path} about={`overwritten · ${bytes}`} />;
  if (action.replaces === "other")
    return <Line kind="changed" letter="S" path={action.path} about="renamed first" />;
  return <Line kind="added" letter="A" path={action.path} about={bytes} />;
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
      <span className="restore-path" title={`~/${displayName(path)}`}>
        {displayName(path)}
      </span>
      <span className="soft small">{about}</span>
    </li>
  );
}

function counted(count: number, one: string, many: string): string {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

function restoreLabel(actions: readonly RestoreAction[]): string {
  const [only] = actions;
  if (actions.length === 1 && only) return displayName(nameOf(only.path));
  const files = actions.every((action) => action.entry.kind === "file");
  return counted(actions.length, "", files ? "files" : "entries");
}

function newerNote(count: number): string {
  return count === 0 ? "" : ` Newer entries are kept: ${count.toLocaleString("en")}.`;
}

function outcomeMessage({ done, failed }: Outcome, all: number): string {
  if (done.length === all) return "Restored.";
  const stopped = done.length + failed.length < all ? " The rest was not started." : "";
  return `${done.length.toLocaleString("en")} of ${all.toLocaleString("en")} restored.${stopped}`;
}
