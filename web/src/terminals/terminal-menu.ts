// The context menu of a terminal, and that of one of its commands. Pure: the actions are passed in.
import type { MenuEntry } from "../ui/menu";

export interface TerminalMenuActions {
  copy: () => void;
  paste: () => void;
  selectAll: () => void;
  find: () => void;
  clear: () => void;
  copyOutput: () => void;
  split: () => void;
  rename: () => void;
  close: () => void;
}

interface Context {
  writable: boolean;
  hasSelection: boolean;
  /** A command has run whose output can be copied. */
  hasOutput: boolean;
  /** Terminals are not shown beside each other on small screens. */
  canSplit: boolean;
}

export function terminalMenu(
  { writable, hasSelection, hasOutput, canSplit }: Context,
  actions: TerminalMenuActions,
): MenuEntry[] {
  const items: MenuEntry[] = [
    { label: "Copy", icon: "copy", keys: "Ctrl+Shift+C", disabled: !hasSelection, run: actions.copy },
  ];
  if (writable) items.push({ label: "Paste", keys: "Ctrl+V", run: actions.paste });
  items.push(
    { label: "Select all", run: actions.selectAll },
    { label: "Copy output of last command", disabled: !hasOutput, run: actions.copyOutput },
    "line",
    { label: "Find…", icon: "search", keys: "Ctrl+F", run: actions.find },
  );
  if (!writable) return items;
  items.push({ label: "Clear", run: actions.clear }, "line");
  if (canSplit) items.push({ label: "Split", icon: "split", keys: "Ctrl+Shift+5", run: actions.split });
  items.push(
    { label: "Rename…", run: actions.rename },
    { label: "Close…", icon: "close", danger: true, run: actions.close },
  );
  return items;
}
