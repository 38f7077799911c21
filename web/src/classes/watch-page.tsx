// Looking over a student's shoulder: the terminals of a workspace, read only. What is typed here goes nowhere; the server sees to
// that.
import { useEffect } from "react";
import { useLiveWorkspace } from "../workspaces/live-workspaces";
import { PersonMenu } from "../app/user-menu";
import { ThemeButton } from "../app/theme-button";
import { Gone } from "../app/not-found";
import { Icon } from "../ui/icons";
import { Brand } from "../ui/brand";
import { State } from "../workspaces/workspace-state";
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
  if (live.gone) {
    return (
      <Gone
        title="There is nothing to watch"
        text="The workspace was deleted, or it is not yours to see."
        back={back}
        backWords="To the classes"
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
        <State workspace={workspace} />
        <span className="spring" />
        <ThemeButton />
        <PersonMenu />
      </header>
      <p className="watch-note" role="note">
        <Icon name="eye" />
        <span>
          You are watching. Nothing that you type reaches the machine.{" "}
          <Link href={back}>Back to the class</Link>
        </span>
      </p>
      {workspace.phase === "running" ? (
        <Watched key={workspace.epoch} id={id} />
      ) : (
        <main className="gate">
          <p className="soft">The machine is not running. This page shows its terminals when it is.</p>
        </main>
      )}
    </div>
  );
}

/** How often terminals that the student opens are looked for. */
const LOOK_MS = 5_000;

function Watched({ id }: { id: string }) {
  const terminals = useTerminals(id, false, null);
  const { load } = terminals;
  useEffect(() => {
    const timer = setInterval(() => document.visibilityState === "visible" && void load(), LOOK_MS);
    return () => clearInterval(timer);
  }, [load]);
  return (
    <main className="watch-terminals">
      <TerminalPanel
        workspace={id}
        terminals={terminals}
        writable={false}
        visible
        onHandle={() => undefined}
        handle={() => undefined}
      />
    </main>
  );
}
