// The list of the user's workspaces and of those they have access to, updated live.
import { useEffect, useMemo, useState } from "react";
import { workspacesApi } from "../api/endpoints";
import { useLiveWorkspaces, type Workspaces } from "./live-workspaces";
import type { Workspace } from "../api/types";
import { useUser } from "../auth/session";
import { ConfirmDialog } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { MenuButton, type MenuEntry } from "../ui/menu";
import { homeUsage, homeWarning } from "./home-status";
import { Copyable } from "../ui/copyable";
import { RelativeTime, ElapsedTime } from "../ui/time";
import { WorkspaceState } from "./workspace-state";
import { Link, navigate } from "../ui/router";
import { SafeUpTo } from "./safe-up-to";
import { copyText, toast, toastError } from "../ui/toasts";
import { canStart, canStop, isTransitioning, stepLabel } from "./phases";
import { formatBytes } from "../ui/format";
import { ForkWorkspaceDialog } from "./fork-workspace-dialog";
import { PageFrame } from "../app/page-frame";
import { FormError } from "../ui/form-error";
import { CreateWorkspaceDialog } from "./create-workspace-dialog";
import { ForkedFrom } from "./forked-from";
import { RenameWorkspaceDialog } from "./rename-workspace-dialog";
import { FailureNote } from "./failure-note";
import "./workspaces.css";

type OpenDialog =
  { kind: "new" } | { kind: "delete" | "stop" | "rename" | "fork"; workspace: Workspace } | null;

export function WorkspacesPage() {
  const user = useUser();
  const live = useLiveWorkspaces();
  const [asked, setAsked] = useState<OpenDialog>(null);
  const sorted = useMemo(
    () => [...(live.workspaces?.values() ?? [])].sort((a, b) => lastTouched(b) - lastTouched(a)),
    [live.workspaces],
  );
  const mine = sorted.filter((workspace) => workspace.owner === user.id);
  const others = sorted.filter((workspace) => workspace.owner !== user.id);
  useNewKey(() => setAsked({ kind: "new" }));
  const close = () => setAsked(null);
  return (
    <PageFrame title="Workspaces">
      <div className="page-head">
        <h1>Workspaces</h1>
        <div className="actions">
          <button className="button primary" onClick={() => setAsked({ kind: "new" })} aria-keyshortcuts="n">
            <Icon name="plus" /> New workspace
          </button>
        </div>
      </div>
      <p className="hidden-text" role="status">
        {live.connected ? "" : "Reconnecting…"}
      </p>
      {live.workspaces === null ? (
        live.failure ? (
          <FormError error={live.failure} />
        ) : (
          <div className="panel list-skeleton" aria-hidden="true">
            <div className="skeleton" />
            <div className="skeleton" />
          </div>
        )
      ) : mine.length === 0 ? (
        <div className="panel empty">
          <p>A workspace is your own Linux machine, in this browser and on your command line.</p>
          <button className="button primary" onClick={() => setAsked({ kind: "new" })}>
            Create workspace
          </button>
          <Copyable text={`burrow login ${window.location.origin}`} what="command" />
        </div>
      ) : (
        <List
          workspaces={mine}
          known={live.workspaces}
          connected={live.connected}
          onAsk={setAsked}
          put={live.update}
        />
      )}
      {others.length > 0 && (
        <section className="others">
          <div className="page-head">
            <h2>Shared with you</h2>
          </div>
          <List
            workspaces={others}
            known={live.workspaces}
            connected={live.connected}
            onAsk={setAsked}
            put={live.update}
          />
        </section>
      )}
      {asked?.kind === "new" && (
        <CreateWorkspaceDialog
          taken={new Set(mine.map((workspace) => workspace.name))}
          onClose={close}
          onCreated={(workspace) => {
            live.update(workspace);
            navigate(`/workspaces/${workspace.id}`);
          }}
        />
      )}
      {asked?.kind === "rename" && (
        <RenameWorkspaceDialog workspace={asked.workspace} onClose={close} onDone={live.update} />
      )}
      {asked?.kind === "fork" && (
        <ForkWorkspaceDialog workspace={asked.workspace} snapshot={null} onClose={close} />
      )}
      {asked?.kind === "stop" && (
        <ConfirmDialog
          title={`Stop ${asked.workspace.name}?`}
          text="Running programs end. The home is saved first."
          action="Stop workspace"
          onClose={close}
          onConfirm={async () => live.update(await workspacesApi.stop(asked.workspace.id))}
        />
      )}
      {asked?.kind === "delete" && (
        <ConfirmDialog
          title={`Delete ${asked.workspace.name}?`}
          text="Running programs end, and unsaved changes are lost. The saved home is kept for a few days, in which you can undo this."
          action="Delete workspace"
          onClose={close}
          onConfirm={async () => {
            await workspacesApi.remove(asked.workspace.id);
            live.remove(asked.workspace.id);
            toast(`${asked.workspace.name} deleted`, {
              label: "Undo",
              run: () => {
                workspacesApi
                  .undelete(asked.workspace.id)
                  .then(live.update, (error: unknown) => toastError(error, "undo"));
              },
            });
          }}
        />
      )}
    </PageFrame>
  );
}

function lastTouched(workspace: Workspace): number {
  return Date.parse(workspace.last_used_at ?? workspace.created_at);
}

/** `n` opens the dialog, unless the user is typing. */
function useNewKey(open: () => void): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const typing = (event.target as Element | null)?.closest(
        "input, textarea, select, dialog, [role=menu]",
      );
      if (event.key !== "n" || event.ctrlKey || event.metaKey || event.altKey || typing) return;
      event.preventDefault();
      open();
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  });
}

interface ListProps {
  workspaces: Workspace[];
  known: Workspaces | null;
  connected: boolean;
  onAsk: (asked: OpenDialog) => void;
  put: (workspace: Workspace) => void;
}

function List({ workspaces, ...rest }: ListProps) {
  return (
    <ul className="panel workspace-list">
      {workspaces.map((workspace) => (
        <li key={workspace.id}>
          <Row workspace={workspace} {...rest} />
        </li>
      ))}
    </ul>
  );
}

function Row({
  workspace,
  known,
  connected,
  onAsk,
  put,
}: { workspace: Workspace } & Omit<ListProps, "workspaces">) {
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
    { label: "Fork…", icon: "fork", run: () => onAsk({ kind: "fork", workspace }) },
  ];
  if (writable) {
    items.push(
      { label: "Rename…", run: () => onAsk({ kind: "rename", workspace }) },
      {
        label: "Stop…",
        icon: "stop",
        disabled: !canStop(workspace.phase),
        run: () => onAsk({ kind: "stop", workspace }),
      },
      "line",
      { label: "Delete…", danger: true, run: () => onAsk({ kind: "delete", workspace }) },
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
