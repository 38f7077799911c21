// The history page of a workspace: header, loading state, and the empty state.
import { useEffect, useState } from "react";
import { useLiveWorkspace } from "../workspaces/live-workspaces";
import { snapshotsApi } from "../api/endpoints";
import type { Workspace } from "../api/types";
import { NotFound } from "../app/not-found";
import { Failure } from "../ui/failure";
import { ReasonButton } from "../ui/reason-button";
import { WorkspaceState } from "../workspaces/workspace-state";
import { Link } from "../ui/router";
import { SafeUpTo } from "../workspaces/safe-up-to";
import { toastError } from "../ui/toasts";
import { HomeBanners } from "../workspaces/home-banners";
import { WorkspaceHeader } from "../workspaces/workspace-header";
import "../workbench/workbench.css";
import { HistoryView } from "./history-view";
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
  if (live.isMissing) return <NotFound />;
  return (
    <div className="workspace history">
      <WorkspaceHeader
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
            <WorkspaceState workspace={workspace} />
          </span>
        )}
      </WorkspaceHeader>
      {workspace && <HomeBanners workspace={workspace} connected={live.connected} onChanged={live.update} />}
      {!workspace || snapshots.points === null ? (
        snapshots.failure !== null ? (
          <main className="history-empty">
            <Failure error={snapshots.failure} onRetry={snapshots.retry} />
          </main>
        ) : (
          <HistorySkeleton />
        )
      ) : snapshots.points.length === 0 ? (
        <Empty workspace={workspace} snapshots={snapshots} />
      ) : (
        <HistoryView
          workspace={workspace}
          snapshots={snapshots}
          points={snapshots.points}
          put={live.update}
        />
      )}
    </div>
  );
}

/** As large as the page it stands for, so the layout does not shift. */
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
      <div className="columns snapshot-columns">
        <div className="side snapshot-side">
          <div className="snapshot-side-head" aria-hidden="true">
            <span className="skeleton snapshot-side-skeleton" />
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
    snapshotsApi
      .create(workspace.id)
      .then(snapshots.update, (error: unknown) => toastError(error, "create a snapshot"))
      .finally(() => setBusy(false));
  };
  return (
    <main className="history-empty" id="content">
      <h2>No snapshots yet</h2>
      <p className="soft">
        {running
          ? "The first snapshot is created within seconds of the first change, or when the workspace stops."
          : "The first snapshot is created within seconds after the workspace starts."}
      </p>
      <ReasonButton
        reason={
          workspace.access !== "write"
            ? "You have read-only access to this workspace."
            : !running
              ? "The workspace has never been started, so its home is empty."
              : busy
                ? "A snapshot is being created."
                : ""
        }
        onClick={take}
      >
        {busy ? "Creating snapshot…" : "Create snapshot"}
      </ReasonButton>
    </main>
  );
}
