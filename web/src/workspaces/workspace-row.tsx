// One workspace in the list: state, usage, and actions.
import { workspacesApi } from "../api/endpoints";
import type { Workspace } from "../api/types";
import type { Workspaces } from "./live-workspaces";
import { useUser } from "../auth/session";
import { Icon } from "../ui/icons";
import { MenuButton, type MenuEntry } from "../ui/menu";
import { homeUsage, homeWarning } from "./home-status";
import { RelativeTime, ElapsedTime } from "../ui/time";
import { WorkspaceState } from "./workspace-state";
import { Link, navigate } from "../ui/router";
import { SafeUpTo } from "./safe-up-to";
import { copyText, toastError } from "../ui/toasts";
import { canStart, canStop, isTransitioning, stepLabel } from "./phases";
import { formatBytes } from "../ui/format";
import { ForkedFrom } from "./forked-from";
import { FailureNote } from "./failure-note";

/** A dialog about one workspace. */
export interface WorkspaceDialog {
  kind: "delete" | "stop" | "rename" | "fork";
  workspace: Workspace;
}

export interface WorkspaceRowProps {
  workspace: Workspace;
  known: Workspaces | null;
  connected: boolean;
  onOpenDialog: (dialog: WorkspaceDialog) => void;
  put: (workspace: Workspace) => void;
}

export function WorkspaceRow({ workspace, known, connected, onOpenDialog, put }: WorkspaceRowProps) {
  const user = useUser();
  const start = () => {
    workspacesApi
      .start(workspace.id)
      .then(put, (error: unknown) => toastError(error, `start ${workspace.name}`));
  };
  const writable = workspace.access === "write";
  const step = workspace.steps.at(-1);
  const fullness = homeUsage(workspace);
  const trouble = homeWarning(workspace);
  const facts = [workspace.template];
  if (workspace.stored_bytes) facts.push(formatBytes(workspace.stored_bytes));
  if (workspace.owner !== user.id) facts.unshift(workspace.owner_name);
  const items: MenuEntry[] = [
    {
      label: "Copy attach command",
      icon: "copy",
      run: () => void copyText(`burrow attach ${workspace.name}`, "Command"),
    },
    { label: "History", icon: "history", run: () => navigate(`/workspaces/${workspace.id}/history`) },
    { label: "Fork…", icon: "fork", run: () => onOpenDialog({ kind: "fork", workspace }) },
  ];
  if (writable) {
    items.push(
      { label: "Rename…", run: () => onOpenDialog({ kind: "rename", workspace }) },
      {
        label: "Stop…",
        icon: "stop",
        disabled: !canStop(workspace.phase),
        run: () => onOpenDialog({ kind: "stop", workspace }),
      },
      "line",
      { label: "Delete…", danger: true, run: () => onOpenDialog({ kind: "delete", workspace }) },
    );
  }
  return (
    <div className="workspace-row">
      <div>
        <Link className="workspace-name" href={`/workspaces/${workspace.id}`}>
          {workspace.name}
        </Link>
        <p className="under">{facts.join(" · ")}</p>
        {workspace.forked_from && (
          <p className="under">
            <ForkedFrom origin={workspace.forked_from} known={known ?? new Map()} />
          </p>
        )}
      </div>
      <div className="status">
        <WorkspaceState workspace={workspace} />
        {trouble && (
          <p className="under trouble" title={trouble.detail}>
            {trouble.title}
          </p>
        )}
        {isTransitioning(workspace.phase) && step && (
          <p className="under">
            {stepLabel(step.step)} · <ElapsedTime at={step.since} />
            {step.detail ? ` · ${step.detail}` : ""}
          </p>
        )}
      </div>
      <div className="times under">
        <p>Used {<RelativeTime at={workspace.last_used_at ?? workspace.created_at} />}</p>
        {fullness && <p className={`home-use ${fullness.level}`}>Home {fullness.text}</p>}
      </div>
      <div className="safe under">
        <SafeUpTo workspace={workspace} connected={connected} />
      </div>
      <div className="actions">
        {canStart(workspace.phase) && writable ? (
          <button className="button" onClick={start} aria-label={`Start ${workspace.name}`}>
            Start
          </button>
        ) : (
          <Link className="button" href={`/workspaces/${workspace.id}`} aria-label={`Open ${workspace.name}`}>
            Open
          </Link>
        )}
        <MenuButton label={`Actions for ${workspace.name}`} items={items}>
          <Icon name="more" />
        </MenuButton>
      </div>
      {workspace.failure && (
        <div className="workspace-failure">
          <FailureNote workspace={workspace} />
        </div>
      )}
    </div>
  );
}
