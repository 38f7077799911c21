// The line at the bottom: connection, phase, what is safe, where the cursor is, who else is here.
import { useEffect, useState, useSyncExternalStore } from "react";
import type { Workspace } from "../api/types";
import type { SharedDocument } from "../streams/shared-document";
import type { LinkState } from "../streams/reconnecting-socket";
import { fullnessOf } from "../workspaces/home-status";
import { State } from "../workspaces/workspace-state";
import { Link } from "../ui/router";
import { SafeUpTo } from "../workspaces/safe-up-to";
import type { Cursor } from "../editor/editor";
import { languageOf } from "../editor/languages";
import { nameOf } from "../files/paths";
import { peerOf, type Peer } from "../editor/remote-cursors";

const words: Record<LinkState, string> = {
  connecting: "Connecting…",
  open: "Connected",
  waiting: "Reconnecting…",
  closed: "Disconnected",
};

interface Props {
  workspace: Workspace;
  /** Whether we are told of its changes. */
  connected: boolean;
  link: LinkState;
  path: string | null;
  shared: SharedDocument | undefined;
  cursor: Cursor | null;
}

export function StatusBar({ workspace, connected, link, path, shared, cursor }: Props) {
  const fullness = fullnessOf(workspace);
  return (
    <footer className="status-bar" aria-label="Status" tabIndex={-1} data-region="status">
      <span className="state" role="status" data-link={link}>
        <span className={`dot ${link === "open" ? "good" : "busy"}`} />
        {words[link]}
      </span>
      <span className="wide-only">
        <State workspace={workspace} />
        {workspace.accelerator && workspace.accelerator !== "none" && (
          <span className="soft"> · {workspace.accelerator}</span>
        )}
      </span>
      {workspace.access === "read" && <strong className="read-only">Read only</strong>}
      <Link className="status-link" href={`/workspaces/${workspace.id}/history`}>
        <SafeUpTo workspace={workspace} connected={connected} />
      </Link>
      {fullness && (
        <span
          className={`wide-only home-use ${fullness.level}`}
          title={`The home is ${fullness.percent} % full`}
        >
          Home {fullness.words}
        </span>
      )}
      <span className="spring" />
      {shared && path && <DocumentStatus key={path} shared={shared} path={path} cursor={cursor} />}
    </footer>
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
  const view = useSyncExternalStore(shared.subscribe, () => shared.view);
  const peers = usePeers(view.awareness);
  return (
    <>
      {peers.length > 0 && (
        <ul className="peers" aria-label="Also here">
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
              : view.link === "open"
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

function usePeers(awareness: SharedDocument["view"]["awareness"]): Peer[] {
  const [peers, setPeers] = useState<Peer[]>([]);
  useEffect(() => {
    const read = () => {
      const all = [...awareness.getStates()].filter(([client]) => client !== awareness.clientID);
      setPeers(all.flatMap(([client, state]) => peerOf(client, state) ?? []));
    };
    read();
    awareness.on("change", read);
    return () => awareness.off("change", read);
  }, [awareness]);
  return peers;
}
