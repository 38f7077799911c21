// The terminals of a student's workspace, read-only. The server, not this page, enforces that.
import { useEffect } from "react";
import { useLiveWorkspace } from "../workspaces/live-workspaces";
import { UserMenu } from "../app/user-menu";
import { ThemeButton } from "../app/theme-button";
import { NotFound } from "../app/not-found";
import { Icon } from "../ui/icons";
import { Brand } from "../ui/brand";
import { WorkspaceState } from "../workspaces/workspace-state";
import { Link } from "../ui/router";
import { TerminalPanel } from "../terminals/terminal-panel";
import { useTerminals } from "../terminals/use-terminals";
import "../workbench/workbench.css";
import "./classes.css";

export default function WatchPage({ id }: { id: string }) {
  const live = useLiveWorkspace(id);
  const { workspace } = live;
  useEffect(() => {
    document.title = workspace ? `Watching ${workspace.owner_name} · Burrow` : "Burrow";
  }, [workspace]);
  const back = workspace?.class ? `/classes/${workspace.class}` : "/classes";
  if (live.isMissing) {
    return (
      <NotFound
        title="Workspace not found"
        text="It was deleted, or you do not have access to it."
        back={back}
        backLabel="Go to classes"
      />
    );
  }
  if (!workspace) return <div className="workspace" aria-busy="true" />;
  return (
    <div className="workspace watch">
      <header className="workspace-top">
        <Brand />
        <h1>
          {workspace.owner_name} <span className="soft wide-only">/ {workspace.name}</span>
        </h1>
        <WorkspaceState workspace={workspace} />
        <span className="spring" />
        <ThemeButton />
        <UserMenu />
      </header>
      <aside className="watch-note">
        <Icon name="eye" />
        <span>
          You are watching, read-only. <Link href={back}>Back to class</Link>
        </span>
      </aside>
      {workspace.phase === "running" ? (
        <WatchedTerminals key={workspace.epoch} id={id} />
      ) : (
        <main className="gate">
          <p className="soft">The workspace is not running. Its terminals appear here when it runs.</p>
        </main>
      )}
    </div>
  );
}

/** How often the list of terminals is refreshed. */
const REFRESH_INTERVAL_MS = 5_000;

function WatchedTerminals({ id }: { id: string }) {
  const terminals = useTerminals(id, false, { active: null, groups: [] }, null);
  const { refresh } = terminals;
  useEffect(() => {
    const timer = setInterval(
      () => document.visibilityState === "visible" && void refresh(),
      REFRESH_INTERVAL_MS,
    );
    return () => clearInterval(timer);
  }, [refresh]);
  return (
    <main className="watch-terminals">
      <TerminalPanel
        workspace={id}
        terminals={terminals}
        writable={false}
        visible
        isNarrow
        onHandle={() => undefined}
        handle={() => undefined}
      />
    </main>
  );
}
