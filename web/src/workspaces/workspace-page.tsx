// The page of one workspace: the steps while it starts, the workbench while it runs.
import { useEffect, useState } from "react";
import { workspacesApi } from "../api/endpoints";
import { useLiveWorkspace } from "./live-workspaces";
import { ForkWorkspaceDialog } from "./fork-workspace-dialog";
import { NotFound } from "../app/not-found";
import { ForkedFrom } from "./forked-from";
import { ConfirmDialog } from "../ui/dialog";
import { STOP_TEXT } from "./phases";
import { Icon } from "../ui/icons";
import { MenuButton, type MenuEntry } from "../ui/menu";
import { WorkspaceState } from "./workspace-state";
import { Link, navigate } from "../ui/router";
import { copyText, toastError } from "../ui/toasts";
import { canStart, canStop } from "./phases";
import { HomeBanners } from "./home-banners";
import { InactiveWorkspace } from "./inactive-workspace";
import { NetworkDialog } from "./network-dialog";
import { WorkspaceHeader } from "./workspace-header";
import { Workbench } from "../workbench/workbench";
import "./workspaces.css";
import "../workbench/workbench.css";
import "../git/git.css";
import "../languages/languages.css";

export default function WorkspacePage({ id }: { id: string }) {
  const live = useLiveWorkspace(id);
  const [stopping, setStopping] = useState(false);
  const [forking, setForking] = useState(false);
  const [isNetworkShown, setNetworkShown] = useState(false);
  const { workspace } = live;
  const name = workspace?.name;
  useEffect(() => {
    document.title = name ? `${name} · Burrow` : "Burrow";
  }, [name]);
  if (live.isMissing) return <NotFound />;
  if (!workspace) return <div className="workspace" aria-busy="true" />;
  const start = () => {
    workspacesApi
      .start(workspace.id)
      .then(live.update, (error: unknown) => toastError(error, `start ${workspace.name}`));
  };
  const history = `/workspaces/${workspace.id}/history`;
  const fork = () => setForking(true);
  const writable = workspace.access === "write";
  const items: MenuEntry[] = [
    {
      label: "Copy attach command",
      icon: "copy",
      run: () => void copyText(`burrow attach ${workspace.name}`, "Command"),
    },
    { label: "History", icon: "history", run: () => navigate(history) },
    { label: "Fork…", icon: "fork", run: fork },
    { label: "Network…", run: () => setNetworkShown(true) },
  ];
  if (writable) {
    items.push(
      { label: "Start", icon: "play", disabled: !canStart(workspace.phase), run: start },
      { label: "Stop…", icon: "stop", disabled: !canStop(workspace.phase), run: () => setStopping(true) },
    );
  }
  return (
    <div className="workspace">
      <WorkspaceHeader
        title={workspace.name}
        end={
          <Link className="icon-button wide-only" href={history} aria-label="History" title="History">
            <Icon name="history" />
          </Link>
        }
      >
        <WorkspaceState workspace={workspace} />
        <MenuButton
          label={`Actions for ${workspace.name}`}
          items={items}
          head={
            workspace.forked_from && (
              <p className="menu-head soft small">
                <ForkedFrom origin={workspace.forked_from} />
              </p>
            )
          }
        >
          <Icon name="more" />
        </MenuButton>
      </WorkspaceHeader>
      <HomeBanners workspace={workspace} connected={live.connected} onChanged={live.update} />
      {workspace.phase === "running" ? (
        // A new placement has new terminals and documents, so the workbench starts over.
        <Workbench key={workspace.epoch} workspace={workspace} connected={live.connected} onFork={fork} />
      ) : (
        <InactiveWorkspace workspace={workspace} onStart={start} onStop={() => setStopping(true)} />
      )}
      {forking && (
        <ForkWorkspaceDialog workspace={workspace} snapshot={null} onClose={() => setForking(false)} />
      )}
      {isNetworkShown && <NetworkDialog workspace={workspace} onClose={() => setNetworkShown(false)} />}
      {stopping && (
        <ConfirmDialog
          title={`Stop ${workspace.name}?`}
          text={STOP_TEXT}
          action="Stop workspace"
          onClose={() => setStopping(false)}
          onConfirm={async () => live.update(await workspacesApi.stop(workspace.id))}
        />
      )}
    </div>
  );
}
