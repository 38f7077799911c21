// Who is signed in, for every page.
import { createContext, use, useCallback, useEffect, useState, type ReactNode } from "react";
import { auth } from "../api/endpoints";
import { ApiError, onSignedOut, wordsOf } from "../api/client";
import type { User } from "../api/types";
import { navigate } from "../ui/router";

interface SessionValue {
  user: User | null;
  set: (user: User | null) => void;
}

const Context = createContext<SessionValue>({ user: null, set: () => undefined });

export function SessionProvider({ children }: { children: ReactNode }) {
  const [state, setState] = useState<{ user: User | null } | "asking" | { failure: string }>("asking");
  const set = useCallback((user: User | null) => setState({ user }), []);
  const ask = useCallback(() => {
    auth.session().then(
      (session) => setState({ user: session.user }),
      (error: unknown) =>
        setState(
          error instanceof ApiError && error.status === 401 ? { user: null } : { failure: wordsOf(error) },
        ),
    );
  }, []);
  useEffect(() => {
    onSignedOut(() => setState({ user: null }));
    ask();
  }, [ask]);
  if (state === "asking") return null;
  if ("failure" in state) {
    return (
      <main className="gate">
        <div className="panel gate-card">
          <h1>The server cannot be reached</h1>
          <p className="lead">{state.failure}</p>
          <button className="button primary" onClick={ask}>
            Try again
          </button>
        </div>
      </main>
    );
  }
  return <Context value={{ user: state.user, set }}>{children}</Context>;
}

export function useSession(): SessionValue {
  return use(Context);
}

/** The person; only below pages that ask for one. */
export function useUser(): User {
  const { user } = use(Context);
  if (!user) throw new Error("a page that needs a person was shown without one");
  return user;
}

export const mayTeach = (user: User): boolean => user.role !== "member";

export const mayManage = (user: User): boolean => user.role === "owner";

/** Where to go after signing in: a path of this app, nothing else. */
export function nextPath(): string {
  const next = new URLSearchParams(window.location.search).get("next") ?? "/";
  return /^\/(?![/\\])/.test(next) ? next : "/";
}

export function toSignIn(): void {
  const here = window.location.pathname + window.location.search;
  navigate(here === "/" ? "/sign-in" : `/sign-in?next=${encodeURIComponent(here)}`, { replace: true });
}
