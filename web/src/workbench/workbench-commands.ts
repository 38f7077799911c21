// The commands of the workbench: their labels in the palette, and their key bindings. Pure: the
// actions are passed in.
import type { Command } from "../ui/commands";

export interface WorkbenchActions {
  focusExplorer: () => void;
  focusEditor: () => void;
  focusTerminal: () => void;
  /** Moves the focus to the next region, or with -1 to the previous one. */
  cycleRegion: (by: number) => void;
  newTerminal: () => void;
  /** Opens a terminal whose shell reads no start files. */
  newPlainShell: () => void;
  toggleSideBar: () => void;
  togglePanel: () => void;
  closeTab: () => void;
  nextTab: (by: number) => void;
  reportSaved: () => void;
  openPalette: () => void;
  /** Opens the palette with files before the commands. */
  openFilePalette: () => void;
  toggleTheme: () => void;
  openHistory: (file: string | null) => void;
  fork: () => void;
  refreshFiles: () => void;
}

export interface WorkbenchContext {
  writable: boolean;
  sideBar: boolean;
  panel: boolean;
  isDark: boolean;
  /** The file in the active tab. */
  file: string | null;
}

export function workbenchCommands(actions: WorkbenchActions, context: WorkbenchContext): Command[] {
  const { writable, sideBar, panel, isDark, file } = context;
  return [
    { label: "Go to file…", keys: "Ctrl+P", run: actions.openFilePalette },
    { label: "Focus Explorer", keys: "Ctrl+Shift+E", run: actions.focusExplorer },
    { label: "Focus editor", keys: "F6", run: actions.focusEditor },
    { label: "Focus terminal", keys: "Ctrl+`", run: actions.focusTerminal },
    ...(writable
      ? [
          { label: "New terminal", keys: "Ctrl+Shift+`", run: actions.newTerminal },
          { label: "New plain shell (without start files)", run: actions.newPlainShell },
        ]
      : []),
    { label: sideBar ? "Hide side bar" : "Show side bar", keys: "Ctrl+B", run: actions.toggleSideBar },
    { label: panel ? "Hide terminals" : "Show terminals", keys: "Ctrl+J", run: actions.togglePanel },
    { label: "Close tab", keys: "Alt+W", run: actions.closeTab },
    { label: "Next tab", keys: "Ctrl+PgDn", run: () => actions.nextTab(1) },
    { label: "Previous tab", keys: "Ctrl+PgUp", run: () => actions.nextTab(-1) },
    { label: isDark ? "Light theme" : "Dark theme", run: actions.toggleTheme },
    { label: "History", run: () => actions.openHistory(null) },
    ...(file === null ? [] : [{ label: "History of this file", run: () => actions.openHistory(file) }]),
    { label: "Fork workspace…", run: actions.fork },
    { label: "Refresh Explorer", run: actions.refreshFiles },
  ];
}

export interface KeyContext {
  writable: boolean;
  isTerminalFocused: boolean;
  /** A full-screen program runs in the focused terminal. */
  isFullScreen: boolean;
}

/** What is read of a key event. */
export type Key = Pick<KeyboardEvent, "key" | "code" | "ctrlKey" | "metaKey" | "altKey" | "shiftKey">;

/** The action of a key, or null. In the terminal, only keys that shells and programs do not use are bound. */
export function keyBinding(key: Key, actions: WorkbenchActions, context: KeyContext): (() => void) | null {
  const ctrl = (key.ctrlKey || key.metaKey) && !key.altKey;
  const shift = key.shiftKey;
  const inTerminal = context.isTerminalFocused;
  if (ctrl && key.code === "Backquote") {
    if (shift) return context.writable ? actions.newTerminal : null;
    return inTerminal ? actions.focusEditor : actions.focusTerminal;
  }
  if (ctrl && shift && key.code === "KeyE") return actions.focusExplorer;
  if (ctrl && shift && key.code === "KeyP") return actions.openPalette;
  if (key.key === "F6" && !ctrl && !(inTerminal && context.isFullScreen))
    return () => actions.cycleRegion(shift ? -1 : 1);
  if (inTerminal) return null;
  if (key.key === "F1") return actions.openPalette;
  if (ctrl && !shift && key.code === "KeyP") return actions.openFilePalette;
  if (ctrl && !shift && key.code === "KeyB") return actions.toggleSideBar;
  if (ctrl && !shift && key.code === "KeyJ") return actions.togglePanel;
  if (ctrl && !shift && key.code === "KeyS") return actions.reportSaved;
  if (key.altKey && !key.ctrlKey && key.code === "KeyW") return actions.closeTab;
  if (ctrl && key.key === "PageDown") return () => actions.nextTab(1);
  if (ctrl && key.key === "PageUp") return () => actions.nextTab(-1);
  return null;
}
