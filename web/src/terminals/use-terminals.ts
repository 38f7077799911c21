// The terminals of a workspace as tabs. They live in the sandbox; the page lists, opens and closes them.
import { useCallback, useEffect, useRef, useState } from "react";
import { terminals as calls } from "../api/endpoints";
import { wordsOf } from "../api/client";
import { toastError } from "../ui/toasts";

export interface Tab {
  id: string;
  title: string;
  ended: boolean;
}

export interface Terminals {
  tabs: Tab[] | null;
  active: string | null;
  failure: string;
  activate: (id: string) => void;
  create: () => Promise<void>;
  close: (id: string) => Promise<void>;
  change: (id: string, part: Partial<Tab>) => void;
  forget: (id: string) => void;
  load: () => Promise<void>;
}

/** `begin`: where there is none, make one. */
export function useTerminals(workspace: string, begin: boolean, remembered: string | null): Terminals {
  const [tabs, setTabs] = useState<Tab[] | null>(null);
  const [active, setActive] = useState<string | null>(remembered);
  const [failure, setFailure] = useState("");
  const begun = useRef(false);

  const create = useCallback(async () => {
    try {
      const made = await calls.create(workspace);
      setTabs((tabs) => [
        ...(tabs ?? []).filter((tab) => tab.id !== made.id),
        { id: made.id, title: made.title, ended: false },
      ]);
      setActive(made.id);
      setFailure("");
    } catch (error) {
      toastError(error, "Opening a terminal");
    }
  }, [workspace]);

  const load = useCallback(async () => {
    try {
      const found = await calls.list(workspace);
      setFailure("");
      setTabs((known) => {
        const kept = new Map((known ?? []).map((tab) => [tab.id, tab]));
        // Those that have ended are shown only to whoever saw them end.
        return found
          .filter((one) => !one.exit || kept.has(one.id))
          .map((one) => kept.get(one.id) ?? { id: one.id, title: one.title, ended: false });
      });
      if (begin && !begun.current && !found.some((one) => !one.exit)) await create();
      begun.current = true;
    } catch (error) {
      setFailure(wordsOf(error));
    }
  }, [workspace, begin, create]);

  useEffect(() => {
    void load();
    // Others, and the CLI, open terminals too.
    const again = () => document.visibilityState === "visible" && void load();
    window.addEventListener("focus", again);
    return () => window.removeEventListener("focus", again);
  }, [load]);

  const forget = useCallback(
    (id: string) => setTabs((tabs) => tabs && tabs.filter((tab) => tab.id !== id)),
    [],
  );
  const close = useCallback(
    async (id: string) => {
      await calls.close(workspace, id);
      forget(id);
    },
    [workspace, forget],
  );
  const change = useCallback(
    (id: string, part: Partial<Tab>) =>
      setTabs((tabs) => tabs && tabs.map((tab) => (tab.id === id ? { ...tab, ...part } : tab))),
    [],
  );
  const present = tabs?.some((tab) => tab.id === active) ? active : (tabs?.at(-1)?.id ?? null);
  return { tabs, active: present, failure, activate: setActive, create, close, change, forget, load };
}
