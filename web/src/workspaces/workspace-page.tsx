// The page of one workspace: while it starts, its steps; while it runs, files, editor and terminals.
import { useEffect, useState } from "react";
import { workspaces as calls } from "../api/endpoints";
import { useLiveWorkspace } from "./live-workspaces";
import { ForkDialog } from "./fork-workspace-dialog";
import { Gone } from "../app/not-found";
import { ForkedFrom } from "./forked-from";
import { Confirm } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { MenuButton, type MenuEntry } from "../ui/menu";
import { State } from "./workspace-state";
import { Link, navigate } from "../ui/router";
import { copyText, toastError } from "../ui/toasts";
import { canStart, canStop } from "./phases";
import { HomeBanners } from "./home-banners";
import { NotRunning } from "./inactive-workspace";
import { WorkspaceTop } from "./workspace-header";
import { Workbench } from "../workbench/workbench";
import "./workspaces.css";
import "../workbench/workbench.css";

export default function WorkspacePage({ id }: { id: string }) {
  const live = useLiveWorkspace(id);
  const [stopping, setStopping] = useState(false);
  const [forking, setForking] = useState(false);
  const { workspace } = live;
  const name = workspace?.name;
  useEffect(() => {
    document.title = name ? `${name} · Burrow` : "Burrow";
  }, [name]);
  if (live.gone) return <Gone />;
  if (!workspace) return <div className="workspace" aria-busy="true" />;
  const start = () => {
    calls
      .start(workspace.id)
      .then(live.put, (error: unknown) => toastError(error, `Starting ${workspace.name}`));
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
  ];
  if (writable) {
    items.push(
      { label: "Start", icon: "play", disabled: !canStart(workspace.phase), run: start },
      { label: "Stop…", icon: "stop", disabled: !canStop(workspace.phase), run: () => setStopping(true) },
    );
  }
  return (
    <div className="workspace">
      <WorkspaceTop
        title={workspace.name}
        end={
          <Link
            className="icon-button wide-only"
            href={history}
            aria-label="History of the home"
            title="History of the home"
          >
            <Icon name="history" />
          </Link>
        }
      >
        <State workspace={workspace} />
        <MenuButton
          label={`More for ${workspace.name}`}
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
      </WorkspaceTop>
      <HomeBanners workspace={workspace} connected={live.connected} onChanged={live.put} />
      {workspace.phase === "running" ? (
        // Another machine is another life: its terminals and documents are others.
        <Workbench key={workspace.epoch} workspace={workspace} connected={live.connected} onFork={fork} />
      ) : (
        <NotRunning workspace={workspace} onStart={start} onStop={() => setStopping(true)} />
      )}
      {forking && <ForkDialog workspace={workspace} snapshot={null} onClose={() => setForking(false)} />}
      {stopping && (
        <Confirm
          title={`Stop ${workspace.name}?`}
          text="Programs in it end. The home is saved first, and is there again when it is started."
          action="Stop"
          onClose={() => setStopping(false)}
          onConfirm={async () => live.put(await calls.stop(workspace.id))}
        />
      )}
    </div>
  );
}
