// Which page an address shows. The workspace page, with editor and terminal, is loaded when it is first needed.
import { Component, lazy, Suspense, useEffect, type ReactNode } from "react";
import { wordsOf } from "../api/client";
import { DevicePage } from "../auth/device-login-page";
import { Gone } from "./not-found";
import { JoinPage } from "../auth/invitation-page";
import { SignInPage } from "../auth/sign-in-page";
import { WelcomePage } from "../auth/sign-in-link-page";
import { WorkspacesPage } from "../workspaces/workspaces-page";
import { SessionProvider, toSignIn, useSession } from "../auth/session";
import { usePath } from "../ui/router";
import { Toasts } from "../ui/toasts";

const WorkspacePage = lazy(() => import("../workspaces/workspace-page"));
const HistoryPage = lazy(() => import("../history/history-page"));
const ClassesPage = lazy(() => import("../classes/classes-page"));
const ClassPage = lazy(() => import("../classes/class-page"));
const WatchPage = lazy(() => import("../classes/watch-page"));
const AccountPage = lazy(() => import("../users/account-page"));
const SettingsPage = lazy(() => import("../settings/settings-page"));
const TokensPage = lazy(() => import("../users/tokens-page"));

function openPage(path: string): ReactNode {
  if (path === "/welcome") return <WelcomePage />;
  if (path === "/sign-in") return <SignInPage />;
  if (path === "/join") return <JoinPage />;
  return null;
}

const ID = "([0-9a-f-]{36})";
const routes: [RegExp, (...ids: string[]) => ReactNode][] = [
  [/^\/(workspaces)?$/, () => <WorkspacesPage />],
  [new RegExp(`^/workspaces/${ID}$`), (_, id = "") => <WorkspacePage key={id} id={id} />],
  [new RegExp(`^/workspaces/${ID}/history$`), (_, id = "") => <HistoryPage key={id} id={id} />],
  [/^\/classes$/, () => <ClassesPage />],
  [new RegExp(`^/classes/${ID}$`), (_, id = "") => <ClassPage key={id} id={id} />],
  [new RegExp(`^/watch/${ID}$`), (_, id = "") => <WatchPage key={id} id={id} />],
  [/^\/account$/, () => <AccountPage />],
  [/^\/tokens$/, () => <TokensPage />],
  [/^\/settings$/, () => <SettingsPage />],
  [/^\/device$/, () => <DevicePage />],
];

function signedInPage(path: string): ReactNode {
  for (const [pattern, page] of routes) {
    const match = pattern.exec(path);
    if (match) return page(...match);
  }
  return (
    <Gone title="There is no such page" text="The address may be mistyped, or what it showed was deleted." />
  );
}

function ToSignIn() {
  useEffect(toSignIn, []);
  return null;
}

function Page() {
  const path = usePath();
  const { user } = useSession();
  return openPage(path) ?? (user ? signedInPage(path) : <ToSignIn />);
}

/** The last resort: a page that breaks says so, instead of leaving a blank one. */
class Boundary extends Component<{ children: ReactNode }, { error: unknown }> {
  override state = { error: null as unknown };
  static getDerivedStateFromError(error: unknown) {
    return { error };
  }
  override render() {
    if (this.state.error === null) return this.props.children;
    return (
      <main className="gate">
        <div className="panel gate-card" role="alert">
          <h1>This page failed</h1>
          <p className="lead">{wordsOf(this.state.error)}</p>
          <button className="button primary" onClick={() => window.location.reload()}>
            Load it again
          </button>
        </div>
      </main>
    );
  }
}

export function App() {
  return (
    <Boundary>
      <SessionProvider>
        <Suspense fallback={null}>
          <Page />
        </Suspense>
      </SessionProvider>
      <Toasts />
    </Boundary>
  );
}
