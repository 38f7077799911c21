// The status bar: connection, state, safe up to, cursor position, other users.
import { useEffect, useState, useSyncExternalStore } from "react";
import type { Workspace } from "../api/types";
import type { SharedDocument } from "../streams/shared-document";
import type { ConnectionState } from "../streams/reconnecting-socket";
import { homeUsage } from "../workspaces/home-status";
import { idleStatus } from "../workspaces/idle-text";
import { WorkspaceState } from "../workspaces/workspace-state";
import { Link } from "../ui/router";
import { useNow } from "../ui/time";
import { SafeUpTo } from "../workspaces/safe-up-to";
import type { Cursor } from "../editor/editor";
import { languageOf } from "../editor/languages";
import { displayName, nameOf } from "../files/paths";
import { branchLabel, syncAction, syncLabel } from "../git/git-model";
import type { GitRepositories } from "../git/use-git";
import type { GitActions } from "../git/use-git-actions";
import { LanguageStatus } from "../languages/language-status";
import type { Languages } from "../languages/use-languages";
import { Icon } from "../ui/icons";
import { parsePeer, type Peer } from "../editor/remote-cursors";

const words: Record<ConnectionState, string> = {
  connecting: "Connecting…",
  open: "Connected",
  waiting: "Reconnecting…",
  closed: "Disconnected",
};

interface Props {
  workspace: Workspace;
  /** Whether the workspace's event stream is connected. */
  connected: boolean;
  link: ConnectionState;
  git: GitRepositories;
  gitActions: GitActions;
  languages: Languages;
  path: string | null;
  shared: SharedDocument | undefined;
  cursor: Cursor | null;
}

export function StatusBar(props: Props) {
  const { workspace, connected, link, path, shared, cursor } = props;
  const fullness = homeUsage(workspace);
  const now = useNow(30_000);
  const idle = idleStatus(workspace, now);
  return (
    <footer className="status-bar" aria-label="Status" tabIndex={-1} data-region="status">
      <span className="state" role="status" data-link={link}>
        <span className={`dot ${link === "open" ? "good" : "busy"}`} />
        {words[link]}
      </span>
      <span className="wide-only">
        <WorkspaceState workspace={workspace} />
        {workspace.accelerator && workspace.accelerator !== "none" && (
          <span className="soft"> · {workspace.accelerator}</span>
        )}
      </span>
      <BranchStatus git={props.git} actions={props.gitActions} writable={workspace.access === "write"} />
      {workspace.access === "read" && <strong className="read-only">Read only</strong>}
      <Link className="status-link" href={`/workspaces/${workspace.id}/history`}>
        <SafeUpTo workspace={workspace} connected={connected} />
      </Link>
      {fullness && (
        <span
          className={`wide-only home-use ${fullness.level}`}
          title={`The home is ${fullness.percent} % full`}
        >
          Home {fullness.text}
        </span>
      )}
      {idle && (
        <span className="wide-only" title={idle.tooltip} data-idle="">
          {idle.label}
        </span>
      )}
      <span className="spring" />
      {path && (
        <LanguageStatus languages={props.languages} path={path} writable={workspace.access === "write"} />
      )}
      {shared && path && <DocumentStatus key={path} shared={shared} path={path} cursor={cursor} />}
    </footer>
  );
}

function BranchStatus(props: { git: GitRepositories; actions: GitActions; writable: boolean }) {
  const { git, actions, writable } = props;
  const { status, running } = git;
  if (!status) return null;
  const arrows = syncLabel(status);
  const action = syncAction(status);
  return (
    <>
      <button
        className="status-button"
        title="Switch branch"
        disabled={!writable}
        onClick={() => actions.open({ kind: "branches" })}
      >
        <Icon name="branch" size={13} />
        <span className="status-branch">{displayName(branchLabel(status))}</span>
      </button>
      {running ? (
        <span className="soft wide-only" role="status">
          {running.label}… {running.percent !== null && `${running.percent} %`}
        </span>
      ) : (
        writable &&
        arrows && (
          <button className="status-button" title="Pull and push" disabled={!action} onClick={actions.sync}>
            {arrows}
          </button>
        )
      )}
    </>
  );
}

function DocumentStatus({
  shared,
  path,
  cursor,
}: {
  shared: SharedDocument;
  path: string;
  cursor: Cursor | null;
}) {
  const view = useSyncExternalStore(shared.subscribe, () => shared.state);
  const peers = usePeers(view.awareness);
  return (
    <>
      {peers.length > 0 && (
        <ul className="peers" aria-label="Also in this file">
          {peers.slice(0, 5).map((peer) => (
            <li key={peer.client} className={`peer peer-${peer.color}`} title={peer.name}>
              {peer.name.slice(0, 1).toUpperCase()}
              <span className="hidden-text">{peer.name}</span>
            </li>
          ))}
          {peers.length > 5 && <li className="soft">+{peers.length - 5}</li>}
        </ul>
      )}
      {view.text && (
        <span className="soft" data-saved={view.saved}>
          {view.readOnly
            ? "Read only"
            : view.saved
              ? "Saved"
              : view.connection === "open"
                ? "Saving…"
                : "Not saved"}
        </span>
      )}
      {cursor && (
        <span className="soft">
          {cursor.line}:{cursor.column}
          {cursor.selected > 0 && ` (${cursor.selected} selected)`}
        </span>
      )}
      <span className="soft wide-only">{languageOf(nameOf(path))?.name ?? "Plain text"}</span>
    </>
  );
}

function usePeers(awareness: SharedDocument["state"]["awareness"]): Peer[] {
  const [peers, setPeers] = useState<Peer[]>([]);
  useEffect(() => {
    const read = () => {
      const all = [...awareness.getStates()].filter(([client]) => client !== awareness.clientID);
      setPeers(all.flatMap(([client, state]) => parsePeer(client, state) ?? []));
    };
    read();
    awareness.on("change", read);
    return () => awareness.off("change", read);
  }, [awareness]);
  return peers;
}
