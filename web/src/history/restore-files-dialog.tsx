// Restores a file or a folder: a preview, then progress, then the result. Also undoes a restore.
import { useEffect, useRef, useState } from "react";
import { ApiError } from "../api/client";
import { snapshotsApi } from "../api/endpoints";
import { serverEvents, textOf } from "../api/server-events";
import type { RestoredEntry, RestoreEvent, Workspace } from "../api/types";
import { Dialog } from "../ui/dialog";
import { Failure } from "../ui/failure";
import { formatBytes, formatFullInstant } from "../ui/format";
import { nameOf, displayName } from "../files/paths";
import {
  applyEvent,
  INITIAL_STATE,
  MAX_LISTED,
  outcomeSentence,
  planSentence,
  restoreLabel,
  type RestoreState,
} from "./restore-events";
import type { Point } from "./timeline-model";

/** A restore, with what undo needs. */
export interface CompletedRestore {
  path: string;
  at: number;
  restore: string;
}

interface FailedPath {
  path: string;
  message: string;
}

type State =
  | { type: "comparing"; compared: number }
  | { type: "failed"; error: unknown }
  | { type: "plan"; plan: RestoreState }
  | { type: "restoring"; state: RestoreState }
  | { type: "undoing" }
  | { type: "over"; words: string; failed: readonly FailedPath[]; resume: string | null };

interface Props {
  workspace: Workspace;
  point: Point;
  path: string;
  /** If given, this restore is undone. */
  undo: CompletedRestore | null;
  onRestored: (restored: CompletedRestore | null) => void;
  onClose: () => void;
}

export function RestoreFilesDialog({ workspace, point, path, undo, onRestored, onClose }: Props) {
  const [state, setState] = useState<State>(undo ? { type: "undoing" } : { type: "comparing", compared: 0 });
  const [attempt, setAttempt] = useState(0);
  const work = useRef(new AbortController());
  const name = displayName(nameOf(path));

  /** Runs a restore, and returns what its events amount to. Throws the server's problem. */
  const follow = async (
    options: { dry_run: boolean; resume: string | null },
    signal: AbortSignal,
    onEvent: (state: RestoreState) => void,
  ): Promise<RestoreState> => {
    const request = { snapshot: point.id, paths: [path], force: false, ...options };
    const response = await snapshotsApi.restoreFiles(workspace.id, request, signal);
    let all = INITIAL_STATE;
    try {
      for await (const event of serverEvents<RestoreEvent>(textOf(response))) {
        if (event.type === "failed") throw new ApiError(event.problem, event.problem.status);
        all = applyEvent(all, event);
        onEvent(all);
      }
    } catch (error) {
      // What was restored before stays, and can be undone or continued.
      if (all.restore === null) throw error;
      if (error instanceof ApiError) setState({ type: "failed", error });
    }
    if (!all.isFinished && all.restore === null && !signal.aborted)
      throw new ApiError({ code: "unavailable", detail: "The server ended the restore. Try again." }, 0);
    return all;
  };

  useEffect(() => {
    const controller = new AbortController();
    work.current = controller;
    const put = (state: State) => {
      if (!controller.signal.aborted) setState(state);
    };
    const failed = (error: unknown) => put({ type: "failed", error });
    if (undo) {
      put({ type: "undoing" });
      snapshotsApi.undoRestore(workspace.id, undo.restore, controller.signal).then(({ kept, kept_count }) => {
        if (kept_count === 0) onRestored(null);
        const words =
          kept_count === 0 ? `Undone. ${name} is as it was before the restore.` : "Undone in part.";
        put({ type: "over", words, failed: kept, resume: null });
      }, failed);
    } else {
      put({ type: "comparing", compared: 0 });
      const onEvent = ({ compared }: RestoreState) => put({ type: "comparing", compared });
      follow({ dry_run: true, resume: null }, controller.signal, onEvent).then(
        (plan) => put({ type: "plan", plan }),
        failed,
      );
    }
    return () => controller.abort();
    // The props do not change while the dialog is open.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [attempt]);

  const restore = async (resume: string | null) => {
    const { signal } = (work.current = new AbortController());
    try {
      setState({ type: "restoring", state: INITIAL_STATE });
      const onEvent = (state: RestoreState) => setState({ type: "restoring", state });
      const all = await follow({ dry_run: false, resume }, signal, onEvent);
      if (all.restore !== null) onRestored({ path, at: point.at, restore: all.restore });
      const failed = all.failed.map(({ path, message }) => ({ path, message: message ?? "" }));
      const next: State = {
        type: "over",
        words: outcomeSentence(all),
        failed,
        resume: all.isFinished ? null : all.restore,
      };
      setState((state) => (state.type === "failed" ? state : next));
      if (all.isFinished && all.failedCount === 0) onClose();
    } catch (error) {
      setState(
        signal.aborted
          ? { type: "over", words: "Stopped.", failed: [], resume: null }
          : { type: "failed", error },
      );
    }
  };
  const isBusy = state.type === "restoring";
  const hasWork = state.type === "plan" && state.plan.created + state.plan.replaced > 0;
  const resume = state.type === "over" ? state.resume : null;
  return (
    <Dialog
      title={undo ? `Undo restore of ${name}` : `Restore ${name}`}
      wide
      onClose={() => (isBusy ? work.current.abort() : onClose())}
    >
      <div className="form restore">
        {!undo && (
          <p>
            <code>~/{displayName(path)}</code> from <strong>{formatFullInstant(point.at)}</strong>
          </p>
        )}
        <Body state={state} onRetry={() => setAttempt(attempt + 1)} />
        <div className="form-actions">
          {isBusy ? (
            <button type="button" className="button" onClick={() => work.current.abort()}>
              Stop
            </button>
          ) : (
            <button type="button" className="button" onClick={onClose}>
              {hasWork ? "Cancel" : "Close"}
            </button>
          )}
          {state.type === "plan" && hasWork && (
            <button type="button" className="button primary" onClick={() => void restore(null)}>
              Restore {displayName(restoreLabel(state.plan))}
            </button>
          )}
          {resume !== null && (
            <button type="button" className="button primary" onClick={() => void restore(resume)}>
              Continue
            </button>
          )}
        </div>
      </div>
    </Dialog>
  );
}

function Body({ state, onRetry }: { state: State; onRetry: () => void }) {
  switch (state.type) {
    case "comparing":
      return (
        <div role="status" className="restore-wait">
          <p className="soft">
            Comparing with the current files…
            {state.compared > 0 && ` ${state.compared.toLocaleString("en")} compared`}
          </p>
          <progress aria-label="Comparing" />
        </div>
      );
    case "failed":
      return <Failure error={state.error} onRetry={onRetry} />;
    case "plan":
      return <Preview plan={state.plan} />;
    case "undoing":
      return (
        <div role="status" className="restore-wait">
          <p className="soft">Undoing…</p>
          <progress aria-label="Undoing" />
        </div>
      );
    case "restoring": {
      const { planned, progress, compared } = state.state;
      if (planned === null) return <Body state={{ type: "comparing", compared }} onRetry={onRetry} />;
      return (
        <div className="restore-wait">
          <p className="soft" role="status">
            Restoring: {Math.min(progress.entries + 1, planned.entries).toLocaleString("en")} of{" "}
            {planned.entries.toLocaleString("en")}
          </p>
          <progress
            max={planned.bytes + planned.entries}
            value={progress.bytes + progress.entries}
            aria-label="Restoring"
          />
          <p className="soft small restore-path">{displayName(progress.path)}</p>
        </div>
      );
    }
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

function Preview({ plan }: { plan: RestoreState }) {
  const { written, failed, created, replaced, failedCount } = plan;
  const newer = plan.planned?.newer ?? 0;
  const bytes = plan.planned?.bytes ?? 0;
  const all = created + replaced + failedCount;
  const note = newer === 0 ? "" : ` Newer entries are kept: ${newer.toLocaleString("en")}.`;
  if (all === 0) return <p role="status">No differences from the current files.{note}</p>;
  const listed = failed.length + written.length;
  return (
    <>
      <p role="status">
        {planSentence(plan)}
        {bytes > 0 && ` · ${formatBytes(bytes)}`}.{note}
      </p>
      <ul className="restore-list" aria-label="Preview" tabIndex={0}>
        {failed.map((entry) => (
          <Line key={entry.path} kind="removed" letter="!" path={entry.path} about={entry.message ?? ""} />
        ))}
        {written.slice(0, MAX_LISTED - failed.length).map((entry) => (
          <EntryLine key={entry.path} entry={entry} />
        ))}
        {all > Math.min(listed, MAX_LISTED) && (
          <li className="soft small">and {(all - Math.min(listed, MAX_LISTED)).toLocaleString("en")} more</li>
        )}
      </ul>
      {created + replaced > 0 && <p className="soft small">Replaced files are kept, so you can undo this.</p>}
    </>
  );
}

function EntryLine({ entry }: { entry: RestoredEntry }) {
  const bytes = entry.kind === "file" ? formatBytes(entry.size) : "";
  if (entry.outcome === "created") return <Line kind="added" letter="A" path={entry.path} about={bytes} />;
  const about = bytes ? `replaced · ${bytes}` : "replaced";
  return <Line kind="changed" letter="M" path={entry.path} about={about} />;
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
