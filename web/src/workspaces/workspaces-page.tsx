// The list of the user's workspaces and of those they have access to, updated live.
import { useEffect, useMemo, useRef, useState } from "react";
import { workspacesApi } from "../api/endpoints";
import { useLiveWorkspaces, type Workspaces } from "./live-workspaces";
import { stableOrder } from "./workspace-order";
import type { Workspace } from "../api/types";
import { useUser } from "../auth/session";
import { ConfirmDialog } from "../ui/dialog";
import { STOP_TEXT } from "./phases";
import { Icon } from "../ui/icons";
import { Copyable } from "../ui/copyable";
import { navigate } from "../ui/router";
import { toast, toastError } from "../ui/toasts";
import { ForkWorkspaceDialog } from "./fork-workspace-dialog";
import { PageFrame } from "../app/page-frame";
import { FormError } from "../ui/form-error";
import { CreateWorkspaceDialog } from "./create-workspace-dialog";
import { RenameWorkspaceDialog } from "./rename-workspace-dialog";
import "./workspaces.css";
import { WorkspaceRow, type WorkspaceDialog, type WorkspaceRowProps } from "./workspace-row";

type OpenDialog = { kind: "new" } | WorkspaceDialog | null;

export function WorkspacesPage() {
  const user = useUser();
  const live = useLiveWorkspaces();
  const [dialog, setDialog] = useState<OpenDialog>(null);
  const sorted = useStableOrder(live.workspaces);
  const mine = sorted.filter((workspace) => workspace.owner === user.id);
  const others = sorted.filter((workspace) => workspace.owner !== user.id);
  useNewKey(() => setDialog({ kind: "new" }));
  const close = () => setDialog(null);
  return (
    <PageFrame title="Workspaces">
      <div className="page-head">
        <h1>Workspaces</h1>
        <div className="actions">
          <button className="button primary" onClick={() => setDialog({ kind: "new" })} aria-keyshortcuts="n">
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
          <button className="button primary" onClick={() => setDialog({ kind: "new" })}>
            Create workspace
          </button>
          <Copyable text={`burrow login ${window.location.origin}`} what="command" />
        </div>
      ) : (
        <List
          workspaces={mine}
          known={live.workspaces}
          connected={live.connected}
          onOpenDialog={setDialog}
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
            onOpenDialog={setDialog}
            put={live.update}
          />
        </section>
      )}
      {dialog?.kind === "new" && (
        <CreateWorkspaceDialog
          taken={new Set(mine.map((workspace) => workspace.name))}
          onClose={close}
          onCreated={(workspace) => {
            live.update(workspace);
            navigate(`/workspaces/${workspace.id}`);
          }}
        />
      )}
      {dialog?.kind === "rename" && (
        <RenameWorkspaceDialog workspace={dialog.workspace} onClose={close} onDone={live.update} />
      )}
      {dialog?.kind === "fork" && (
        <ForkWorkspaceDialog workspace={dialog.workspace} snapshot={null} onClose={close} />
      )}
      {dialog?.kind === "stop" && (
        <ConfirmDialog
          title={`Stop ${dialog.workspace.name}?`}
          text={STOP_TEXT}
          action="Stop workspace"
          onClose={close}
          onConfirm={async () => live.update(await workspacesApi.stop(dialog.workspace.id))}
        />
      )}
      {dialog?.kind === "delete" && (
        <ConfirmDialog
          title={`Delete ${dialog.workspace.name}?`}
          text={
            "Running programs end, and unsaved changes are lost. " +
            "You can undo this for a few days: the saved home is kept until then."
          }
          action="Delete workspace"
          onClose={close}
          onConfirm={async () => {
            await workspacesApi.remove(dialog.workspace.id);
            live.remove(dialog.workspace.id);
            toast(`${dialog.workspace.name} deleted`, {
              label: "Undo",
              run: () => {
                workspacesApi
                  .undelete(dialog.workspace.id)
                  .then(live.update, (error: unknown) => toastError(error, "undo"));
              },
            });
          }}
        />
      )}
    </PageFrame>
  );
}

/** The workspaces in an order that does not change under the pointer while the page is open. */
function useStableOrder(known: Workspaces | null): Workspace[] {
  const order = useRef<readonly string[]>([]);
  return useMemo(() => {
    const there = [...(known?.values() ?? [])].filter((workspace) => !workspace.is_deleting);
    order.current = stableOrder(order.current, there);
    return order.current.flatMap((id) => known?.get(id) ?? []);
  }, [known]);
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

type ListProps = { workspaces: Workspace[] } & Omit<WorkspaceRowProps, "workspace">;

function List({ workspaces, ...rest }: ListProps) {
  return (
    <ul className="panel workspace-list">
      {workspaces.map((workspace) => (
        <li key={workspace.id}>
          <WorkspaceRow workspace={workspace} {...rest} />
        </li>
      ))}
    </ul>
  );
}
