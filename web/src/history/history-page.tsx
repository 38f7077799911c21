// The page of a home's past: what frames it, and what to say where there is none.
import { useEffect, useState } from "react";
import { useLiveWorkspace } from "../workspaces/live-workspaces";
import { snapshots as calls } from "../api/endpoints";
import type { Workspace } from "../api/types";
import { Gone } from "../app/not-found";
import { Failure } from "../ui/failure";
import { ReasonButton } from "../ui/reason-button";
import { State } from "../workspaces/workspace-state";
import { Link } from "../ui/router";
import { SafeUpTo } from "../workspaces/safe-up-to";
import { toastError } from "../ui/toasts";
import { HomeBanners } from "../workspaces/home-banners";
import { WorkspaceTop } from "../workspaces/workspace-header";
import "../workbench/workbench.css";
import { History } from "./history-view";
import "./history.css";
import { TreeSkeleton } from "../files/tree-skeleton";
import { useSnapshots, type Snapshots } from "./use-snapshots";

export default function HistoryPage({ id }: { id: string }) {
  const live = useLiveWorkspace(id);
  const { workspace } = live;
  const snapshots = useSnapshots(id, workspace?.revision);
  const name = workspace?.name;
  useEffect(() => {
    document.title = name ? `History of ${name} · Burrow` : "Burrow";
  }, [name]);
  if (live.gone) return <Gone />;
  return (
    <div className="workspace history">
      <WorkspaceTop
        title={
          <>
            <Link href={`/workspaces/${id}`}>{name ?? "…"}</Link> <span className="soft">/</span>{" "}
            <strong>History</strong>
          </>
        }
        end={
          <>
            {workspace && (
              <span className="soft small wide-only">
                <SafeUpTo workspace={workspace} connected={live.connected} />
              </span>
            )}
            <Link className="button small" href={`/workspaces/${id}`} title="Open the workspace">
              Open
            </Link>
          </>
        }
      >
        {workspace && (
          <span className="wide-only">
            <State workspace={workspace} />
          </span>
        )}
      </WorkspaceTop>
      {workspace && <HomeBanners workspace={workspace} connected={live.connected} onChanged={live.put} />}
      {!workspace || snapshots.points === null ? (
        snapshots.failure !== null ? (
          <main className="past-none">
            <Failure error={snapshots.failure} onRetry={snapshots.retry} />
          </main>
        ) : (
          <HistorySkeleton />
        )
      ) : snapshots.points.length === 0 ? (
        <Empty workspace={workspace} snapshots={snapshots} />
      ) : (
        <History workspace={workspace} snapshots={snapshots} points={snapshots.points} put={live.put} />
      )}
    </div>
  );
}

/** As large as what it stands for. */
function HistorySkeleton() {
  return (
    <main className="history-main" aria-busy="true" aria-label="History">
      <div className="time" aria-hidden="true">
        <div className="time-tools">
          <span className="skeleton time-tools-skeleton" />
        </div>
        <div className="timeline">
          <div className="skeleton timeline-skeleton" />
        </div>
        <div className="point-bar">
          <span className="skeleton point-skeleton" />
        </div>
      </div>
      <div className="columns past-columns">
        <div className="side past-side">
          <div className="past-side-head" aria-hidden="true">
            <span className="skeleton past-side-skeleton" />
          </div>
          <TreeSkeleton />
        </div>
      </div>
    </main>
  );
}

function Empty({ workspace, snapshots }: { workspace: Workspace; snapshots: Snapshots }) {
  const [busy, setBusy] = useState(false);
  const running = workspace.phase === "running";
  const take = () => {
    setBusy(true);
    calls
      .take(workspace.id)
      .then(snapshots.put, (error: unknown) => toastError(error, "Taking a snapshot"))
      .finally(() => setBusy(false));
  };
  return (
    <main className="past-none" id="content">
      <h2>No snapshot yet</h2>
      <p className="soft">
        {running
          ? "The first comes by itself within seconds of the first write, and at the latest when the workspace stops."
          : "The first comes by itself within seconds, once the workspace is started."}
      </p>
      <ReasonButton
        reason={
          workspace.access !== "write"
            ? "You may only read this workspace."
            : !running
              ? "There is nothing to take: it has not been started."
              : busy
                ? "It is being taken."
                : ""
        }
        onClick={take}
      >
        {busy ? "Taking a snapshot…" : "Take a snapshot now"}
      </ReasonButton>
    </main>
  );
}
