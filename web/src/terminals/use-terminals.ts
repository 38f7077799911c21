// The terminals of a workspace as tabs. They live in the sandbox; the page lists, opens and closes them.
import { useCallback, useEffect, useRef, useState } from "react";
import { terminalsApi } from "../api/endpoints";
import { errorMessage } from "../api/client";
import type { ConnectionState } from "../streams/reconnecting-socket";
import { toastError } from "../ui/toasts";

export interface TerminalTab {
  id: string;
  title: string;
  ended: boolean;
}

export interface TerminalTabs {
  tabs: TerminalTab[] | null;
  active: string | null;
  failure: string;
  activate: (id: string) => void;
  /** A plain shell reads no start files, of which one may be broken. */
  create: (plainShell?: boolean) => Promise<void>;
  close: (id: string) => Promise<void>;
  updateTab: (id: string, part: Partial<TerminalTab>) => void;
  removeTab: (id: string) => void;
  refresh: () => Promise<void>;
}

/**
 * `begin`: open a terminal if the workspace has none. `connection`: that of the page to the workspace, if
 * it has one.
 */
export function useTerminals(
  workspace: string,
  begin: boolean,
  remembered: string | null,
  connection: ConnectionState | null,
): TerminalTabs {
  const [tabs, setTabs] = useState<TerminalTab[] | null>(null);
  const [active, setActive] = useState<string | null>(remembered);
  const [failure, setFailure] = useState("");
  const begun = useRef(false);

  const create = useCallback(
    async (plainShell = false) => {
      try {
        const made = await terminalsApi.create(workspace, plainShell);
        setTabs((tabs) => [
          ...(tabs ?? []).filter((tab) => tab.id !== made.id),
          { id: made.id, title: made.title, ended: false },
        ]);
        setActive(made.id);
        setFailure("");
      } catch (error) {
        toastError(error, "open a terminal");
      }
    },
    [workspace],
  );

  const load = useCallback(async () => {
    try {
      const found = await terminalsApi.list(workspace);
      setFailure("");
      setTabs((known) => {
        const kept = new Map((known ?? []).map((tab) => [tab.id, tab]));
        // A terminal that has ended is shown only if its tab was open.
        return found
          .filter((one) => !one.exit || kept.has(one.id))
          .map((one) => kept.get(one.id) ?? { id: one.id, title: one.title, ended: false });
      });
      if (begin && !begun.current && !found.some((one) => !one.exit)) await create();
      begun.current = true;
    } catch (error) {
      setFailure(errorMessage(error));
    }
  }, [workspace, begin, create]);

  // One at a time: two lists that are empty would open two first terminals.
  const loading = useRef<Promise<void> | null>(null);
  const refresh = useCallback(() => {
    loading.current ??= load().finally(() => {
      loading.current = null;
    });
    return loading.current;
  }, [load]);

  // A list that failed while the server could not be reached is read again by itself.
  useEffect(() => {
    if (connection === "open") void refresh();
  }, [connection, refresh]);

  useEffect(() => {
    void refresh();
    // Other browsers and the CLI open terminals too.
    const again = () => document.visibilityState === "visible" && void refresh();
    window.addEventListener("focus", again);
    return () => window.removeEventListener("focus", again);
  }, [refresh]);

  const removeTab = useCallback(
    (id: string) => setTabs((tabs) => tabs && tabs.filter((tab) => tab.id !== id)),
    [],
  );
  const close = useCallback(
    async (id: string) => {
      await terminalsApi.close(workspace, id);
      removeTab(id);
    },
    [workspace, removeTab],
  );
  const updateTab = useCallback(
    (id: string, part: Partial<TerminalTab>) =>
      setTabs((tabs) => tabs && tabs.map((tab) => (tab.id === id ? { ...tab, ...part } : tab))),
    [],
  );
  const present = tabs?.some((tab) => tab.id === active) ? active : (tabs?.at(-1)?.id ?? null);
  return {
    tabs,
    active: present,
    failure,
    activate: setActive,
    create,
    close,
    updateTab,
    removeTab,
    refresh,
  };
}
