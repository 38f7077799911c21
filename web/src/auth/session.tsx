// The session of the browser: who is signed in, and what they may do.
import { createContext, use, useCallback, useEffect, useState, type ReactNode } from "react";
import { authApi } from "../api/endpoints";
import { ApiError, onSignedOut, errorMessage } from "../api/client";
import type { User } from "../api/types";
import { useUserPreferences } from "../settings/preferences-sync";
import { navigate } from "../ui/router";

interface SessionValue {
  user: User | null;
  setUser: (user: User | null) => void;
}

const Context = createContext<SessionValue>({ user: null, setUser: () => undefined });

export function SessionProvider({ children }: { children: ReactNode }) {
  const [state, setState] = useState<{ user: User | null } | "asking" | { failure: string }>("asking");
  const setUser = useCallback((user: User | null) => setState({ user }), []);
  const ask = useCallback(() => {
    authApi.getSession().then(
      (session) => setState({ user: session.user }),
      (error: unknown) =>
        setState(
          error instanceof ApiError && error.status === 401
            ? { user: null }
            : { failure: errorMessage(error) },
        ),
    );
  }, []);
  useEffect(() => {
    onSignedOut(() => setState({ user: null }));
    ask();
  }, [ask]);
  useUserPreferences(typeof state === "object" && "user" in state ? state.user?.id : undefined);
  if (state === "asking") return null;
  if ("failure" in state) {
    return (
      <main className="gate">
        <div className="panel gate-card">
          <h1>Cannot reach the server</h1>
          <p className="lead">{state.failure}</p>
          <button className="button primary" onClick={ask}>
            Retry
          </button>
        </div>
      </main>
    );
  }
  return <Context value={{ user: state.user, setUser }}>{children}</Context>;
}

export function useSession(): SessionValue {
  return use(Context);
}

/** The signed-in user. Only for pages behind the sign-in. */
export function useUser(): User {
  const { user } = use(Context);
  if (!user) throw new Error("a page that needs a user was shown without one");
  return user;
}

export const canTeach = (user: User): boolean => user.role === "teacher" || user.role === "owner";

export const canAudit = (user: User): boolean => user.role === "auditor" || user.role === "owner";

export const canManage = (user: User): boolean => user.role === "owner";

/** Where to go after signing in. Only paths of this app are accepted. */
export function nextPath(): string {
  const next = new URLSearchParams(window.location.search).get("next") ?? "/";
  return /^\/(?![/\\])/.test(next) ? next : "/";
}

export function redirectToSignIn(): void {
  const here = window.location.pathname + window.location.search;
  navigate(here === "/" ? "/sign-in" : `/sign-in?next=${encodeURIComponent(here)}`, { replace: true });
}
