// Chooses the page for a path. Pages with the editor or the terminal are loaded when they are first needed.
import { Component, lazy, Suspense, useEffect, type ReactNode } from "react";
import { errorMessage } from "../api/client";
import { ConfirmPassword } from "../auth/confirm-password";
import { DevicePage } from "../auth/device-login-page";
import { NotFound } from "./not-found";
import { JoinPage } from "../auth/invitation-page";
import { SignInPage } from "../auth/sign-in-page";
import { WelcomePage } from "../auth/sign-in-link-page";
import { WorkspacesPage } from "../workspaces/workspaces-page";
import { SessionProvider, redirectToSignIn, useSession } from "../auth/session";
import { usePath } from "../ui/router";
import { Toasts } from "../ui/toasts";

const WorkspacePage = lazy(() => import("../workspaces/workspace-page"));
const HistoryPage = lazy(() => import("../history/history-page"));
const ClassesPage = lazy(() => import("../classes/classes-page"));
const ClassPage = lazy(() => import("../classes/class-page"));
const WatchPage = lazy(() => import("../classes/watch-page"));
const AccountPage = lazy(() => import("../users/account-page"));
const SettingsPage = lazy(() => import("../settings/settings-page"));
const AuditPage = lazy(() => import("../audit/audit-page"));
const BudgetsPage = lazy(() => import("../budgets/budgets-page"));
const UsagePage = lazy(() => import("../usage/usage-page"));
const UsersPage = lazy(() => import("../users/users-page"));
const PreviewPage = lazy(() => import("../ports/preview-page"));
const TokensPage = lazy(() => import("../users/tokens-page"));

function publicPage(path: string): ReactNode {
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
  [/^\/users$/, () => <UsersPage />],
  [/^\/audit$/, () => <AuditPage />],
  [/^\/budgets$/, () => <BudgetsPage />],
  [/^\/usage$/, () => <UsagePage />],
  [/^\/settings$/, () => <SettingsPage />],
  [/^\/device$/, () => <DevicePage />],
  [/^\/preview$/, () => <PreviewPage />],
];

function signedInPage(path: string): ReactNode {
  for (const [pattern, page] of routes) {
    const match = pattern.exec(path);
    if (match) return page(...match);
  }
  return <NotFound title="Page not found" text="The address may be wrong, or the page was deleted." />;
}

function RedirectToSignIn() {
  useEffect(redirectToSignIn, []);
  return null;
}

function Page() {
  const path = usePath();
  const { user } = useSession();
  return publicPage(path) ?? (user ? signedInPage(path) : <RedirectToSignIn />);
}

/** Shows an error if a page fails to render, instead of a blank page. */
class ErrorBoundary extends Component<{ children: ReactNode }, { error: unknown }> {
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
          <p className="lead">{errorMessage(this.state.error)}</p>
          <button className="button primary" onClick={() => window.location.reload()}>
            Reload
          </button>
        </div>
      </main>
    );
  }
}

export function App() {
  return (
    <ErrorBoundary>
      <SessionProvider>
        <Suspense fallback={null}>
          <Page />
        </Suspense>
        <ConfirmPassword />
      </SessionProvider>
      <Toasts />
    </ErrorBoundary>
  );
}
