// The terminals of a workspace as tabs. They live in the sandbox; the page lists, opens and closes them.
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { terminalsApi } from "../api/endpoints";
import { ApiError, errorMessage } from "../api/client";
import type { NewTerminal, TerminalInfo } from "../api/agent";
import type { ConnectionState } from "../streams/reconnecting-socket";
import { displayName } from "../files/paths";
import { toast, toastError } from "../ui/toasts";
import { groupOf, keepGroups, MAX_BESIDE, orderTabs, splitBeside, type TerminalGroups } from "./split-model";

export interface TerminalTab {
  id: string;
  /** That programs set. */
  title: string;
  /** That a user gave. Empty: none. */
  name: string;
  ended: boolean;
}

/** A question about a terminal that the page shows. */
export interface TerminalQuestion {
  kind: "rename" | "close";
  tab: TerminalTab;
}

export interface TerminalTabs {
  /** Terminals beside each other are neighbours. */
  tabs: TerminalTab[] | null;
  active: string | null;
  groups: TerminalGroups;
  /** Absolute path of the home. */
  home: string;
  failure: string;
  question: TerminalQuestion | null;
  activate: (id: string) => void;
  /** A plain shell reads no start files, of which one may be broken. */
  create: (plainShell?: boolean) => Promise<void>;
  /** Opens a terminal beside the active one, in its working directory. */
  split: () => Promise<void>;
  /** Asks for a new name. */
  askToRename: (id: string | null) => void;
  /** Closes a terminal, after a question if its shell runs. */
  askToClose: (id: string | null) => void;
  endQuestion: () => void;
  clear: () => void;
  close: (id: string) => Promise<void>;
  updateTab: (id: string, part: Partial<TerminalTab>) => void;
  removeTab: (id: string) => void;
  refresh: () => Promise<void>;
}

/** How a terminal is called: by a user, by its program, or by its place. */
export const terminalLabel = ({ name, title }: TerminalTab, index: number): string =>
  displayName(name || title) || `Terminal ${index + 1}`;

const tabOf = ({ id, title, name }: TerminalInfo): TerminalTab => ({
  id,
  title,
  name: name ?? "",
  ended: false,
});

interface Remembered {
  active: string | null;
  groups: TerminalGroups;
}

/**
 * `begin`: open a terminal if the workspace has none. `connection`: that of the page to the workspace, if
 * it has one.
 */
export function useTerminals(
  workspace: string,
  begin: boolean,
  remembered: Remembered,
  connection: ConnectionState | null,
): TerminalTabs {
  const [tabs, setTabs] = useState<TerminalTab[] | null>(null);
  const [active, setActive] = useState<string | null>(remembered.active);
  const [groups, setGroups] = useState(remembered.groups);
  const [home, setHome] = useState("");
  const [failure, setFailure] = useState("");
  const [question, setQuestion] = useState<TerminalQuestion | null>(null);
  const begun = useRef(false);

  const open = useCallback(
    async (terminal: NewTerminal) => {
      const made = await terminalsApi.create(workspace, terminal);
      setTabs((tabs) => [...(tabs ?? []).filter((tab) => tab.id !== made.id), tabOf(made)]);
      setActive(made.id);
      setFailure("");
      return made.id;
    },
    [workspace],
  );

  const create = useCallback(
    async (plainShell = false) => {
      try {
        await open(plainShell ? { plain_shell: true } : {});
      } catch (error) {
        toastError(error, "open a terminal");
      }
    },
    [open],
  );

  const load = useCallback(async () => {
    try {
      const { terminals: found, home } = await terminalsApi.list(workspace);
      setFailure("");
      setHome(home ?? "");
      setTabs((known) => {
        const kept = new Map((known ?? []).map((tab) => [tab.id, tab]));
        // A terminal that has ended is shown only if its tab was open.
        return found
          .filter((one) => !one.exit || kept.has(one.id))
          .map((one) => {
            const tab = kept.get(one.id);
            return tab ? { ...tab, name: one.name ?? "" } : tabOf(one);
          });
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
  const shownGroups = useMemo(
    () =>
      tabs
        ? keepGroups(
            groups,
            tabs.map(({ id }) => id),
          )
        : groups,
    [tabs, groups],
  );
  const ordered = useMemo(() => tabs && orderTabs(tabs, shownGroups), [tabs, shownGroups]);
  const present = ordered?.some((tab) => tab.id === active) ? active : (ordered?.at(-1)?.id ?? null);
  const find = (id: string | null) => ordered?.find((tab) => tab.id === id);

  const split = async () => {
    if (present === null) return create();
    if (groupOf(shownGroups, present).length >= MAX_BESIDE)
      return toast(`At most ${MAX_BESIDE} terminals are shown beside each other.`);
    try {
      const { directory } = await terminalsApi.get(workspace, present);
      // The directory may be gone, or belong to another user.
      const id = await open({ directory: directory ?? null }).catch((error: unknown) => {
        if (error instanceof ApiError && error.code === "invalid") return open({});
        throw error;
      });
      setGroups(splitBeside(shownGroups, present, id));
    } catch (error) {
      toastError(error, "split the terminal");
    }
  };
  const askToRename = (id: string | null) => {
    const tab = find(id);
    if (tab) setQuestion({ kind: "rename", tab });
  };
  const askToClose = (id: string | null) => {
    const tab = find(id);
    if (tab?.ended) close(tab.id).catch(() => removeTab(tab.id));
    else if (tab) setQuestion({ kind: "close", tab });
  };
  const clear = () => {
    if (present === null) return;
    terminalsApi.clear(workspace, present).catch((error: unknown) => toastError(error, "clear the terminal"));
  };
  return {
    tabs: ordered,
    active: present,
    groups: shownGroups,
    home,
    failure,
    question,
    activate: setActive,
    create,
    split,
    askToRename,
    askToClose,
    endQuestion: () => setQuestion(null),
    clear,
    close,
    updateTab,
    removeTab,
    refresh,
  };
}
