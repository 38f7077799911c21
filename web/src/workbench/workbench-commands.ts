// The commands of the workbench: their labels in the palette, and their key bindings. Pure: the
// actions are passed in.
import type { Command } from "../ui/commands";

export interface WorkbenchActions {
  focusExplorer: () => void;
  focusEditor: () => void;
  focusTerminal: () => void;
  /** Shows the search view, with or without replacing. */
  focusSearch: (isReplacing: boolean) => void;
  focusSourceControl: () => void;
  focusPorts: () => void;
  focusProblems: () => void;
  focusOutline: () => void;
  /** Goes to the next problem, or with -1 to the previous one. */
  nextProblem: (by: 1 | -1) => void;
  findReferences: () => void;
  renameSymbol: () => void;
  /** Shows what a language server can do about the selection. */
  showActions: () => void;
  organizeImports: () => void;
  formatDocument: () => void;
  /** Undoes the last change of several files by a language server. Null: there is none. */
  undoEdits: (() => void) | null;
  /** Shows the preview of a port. */
  openPreview: (port: number) => void;
  /** Moves the focus to the next region, or with -1 to the previous one. */
  cycleRegion: (by: number) => void;
  newTerminal: () => void;
  /** Opens a terminal whose shell reads no start files. */
  newPlainShell: () => void;
  /** Opens a terminal beside the active one. */
  splitTerminal: () => void;
  findInTerminal: () => void;
  /** Scrolls to the next prompt of the terminal, or with -1 to the previous one. */
  jumpToPrompt: (by: 1 | -1) => void;
  copyOutput: () => void;
  clearTerminal: () => void;
  renameTerminal: () => void;
  closeTerminal: () => void;
  toggleSideBar: () => void;
  togglePanel: () => void;
  toggleWordWrap: () => void;
  closeTab: () => void;
  closeAllTabs: () => void;
  closeOtherTabs: () => void;
  reopenTab: () => void;
  keepTab: () => void;
  nextTab: (by: number) => void;
  /** Shows the tab with this index. */
  showTab: (index: number) => void;
  splitRight: () => void;
  nextGroup: () => void;
  reportSaved: () => void;
  openFind: (isReplacing: boolean) => void;
  openPalette: () => void;
  openFilePalette: () => void;
  openLinePalette: () => void;
  openSymbolPalette: () => void;
  openWorkspaceSymbolPalette: () => void;
  revealFile: () => void;
  copyFilePath: () => void;
  collapseFolders: () => void;
  toggleTheme: () => void;
  openSettings: () => void;
  openHistory: (file: string | null) => void;
  fork: () => void;
  refreshFiles: () => void;
}

export interface WorkbenchContext {
  writable: boolean;
  sideBar: boolean;
  panel: boolean;
  isDark: boolean;
  isWrapped: boolean;
  /** The file in the active tab. */
  file: string | null;
  hasClosedTabs: boolean;
  /** The ports that programs listen on. */
  ports: readonly number[];
  hasTerminal: boolean;
}

export function workbenchCommands(actions: WorkbenchActions, context: WorkbenchContext): Command[] {
  const { writable, sideBar, panel, isDark, isWrapped, file, hasClosedTabs, ports, hasTerminal } = context;
  const when = (condition: boolean, ...commands: Command[]) => (condition ? commands : []);
  const hasFile = file !== null;
  return [
    { group: "Go", label: "Go to file…", keys: "Ctrl+P", run: actions.openFilePalette },
    {
      group: "Go",
      label: "Go to symbol in workspace…",
      keys: "Ctrl+T",
      run: actions.openWorkspaceSymbolPalette,
    },
    { group: "Go", label: "Next problem", keys: "F8", run: () => actions.nextProblem(1) },
    { group: "Go", label: "Previous problem", keys: "Shift+F8", run: () => actions.nextProblem(-1) },
    ...when(
      hasFile,
      { group: "Go", label: "Go to line…", keys: "Ctrl+G", run: actions.openLinePalette },
      {
        group: "Go",
        label: "Go to symbol in file…",
        keys: "Ctrl+Shift+O",
        run: actions.openSymbolPalette,
      },
      { group: "Go", label: "Find all references", keys: "Shift+F12", run: actions.findReferences },
      { group: "Go", label: "Next tab", keys: "Ctrl+PgDn", run: () => actions.nextTab(1) },
      { group: "Go", label: "Previous tab", keys: "Ctrl+PgUp", run: () => actions.nextTab(-1) },
      { group: "Go", label: "Next editor group", run: actions.nextGroup },
    ),
    {
      group: "Search",
      label: "Search in files",
      keys: "Ctrl+Shift+F",
      run: () => actions.focusSearch(false),
    },
    ...when(writable, {
      group: "Search",
      label: "Replace in files",
      keys: "Ctrl+Shift+H",
      run: () => actions.focusSearch(true),
    }),
    ...when(hasFile, {
      group: "Search",
      label: "Find in this file",
      keys: "Ctrl+F",
      run: () => actions.openFind(false),
    }),
    ...when(
      hasFile && writable,
      {
        group: "Search",
        label: "Replace in this file",
        keys: "Ctrl+H",
        run: () => actions.openFind(true),
      },
      { group: "Edit", label: "Rename symbol…", keys: "F2", run: actions.renameSymbol },
      { group: "Edit", label: "Quick fix or refactor…", keys: "Ctrl+.", run: actions.showActions },
      { group: "Edit", label: "Format document", keys: "Shift+Alt+F", run: actions.formatDocument },
      { group: "Edit", label: "Organize imports", keys: "Shift+Alt+O", run: actions.organizeImports },
    ),
    ...(actions.undoEdits
      ? [{ group: "Edit", label: "Undo last change of several files", run: actions.undoEdits }]
      : []),
    ...when(
      hasFile,
      { group: "File", label: "Close tab", keys: "Alt+W", run: actions.closeTab },
      { group: "File", label: "Close other tabs", run: actions.closeOtherTabs },
      { group: "File", label: "Close all tabs", run: actions.closeAllTabs },
      { group: "File", label: "Keep tab open", run: actions.keepTab },
      { group: "File", label: "Copy path of file", run: actions.copyFilePath },
      { group: "File", label: "Show file in Explorer", run: actions.revealFile },
    ),
    ...when(hasClosedTabs, {
      group: "File",
      label: "Reopen closed tab",
      keys: "Alt+Shift+T",
      run: actions.reopenTab,
    }),
    { group: "View", label: "Focus Explorer", keys: "Ctrl+Shift+E", run: actions.focusExplorer },
    {
      group: "View",
      label: "Focus Source Control",
      keys: "Ctrl+Shift+G",
      run: actions.focusSourceControl,
    },
    { group: "View", label: "Focus Problems", keys: "Ctrl+Shift+M", run: actions.focusProblems },
    { group: "View", label: "Focus Outline", run: actions.focusOutline },
    { group: "View", label: "Focus Ports", run: actions.focusPorts },
    { group: "View", label: "Focus editor", keys: "F6", run: actions.focusEditor },
    { group: "View", label: "Focus terminal", keys: "Ctrl+`", run: actions.focusTerminal },
    {
      group: "View",
      label: sideBar ? "Hide side bar" : "Show side bar",
      keys: "Ctrl+B",
      run: actions.toggleSideBar,
    },
    {
      group: "View",
      label: panel ? "Hide terminals" : "Show terminals",
      keys: "Ctrl+J",
      run: actions.togglePanel,
    },
    {
      group: "View",
      label: isWrapped ? "Turn word wrap off" : "Turn word wrap on",
      keys: "Alt+Z",
      run: actions.toggleWordWrap,
    },
    ...when(hasFile, { group: "View", label: "Split right", keys: "Ctrl+\\", run: actions.splitRight }),
    { group: "View", label: "Settings…", keys: "Ctrl+,", run: actions.openSettings },
    { group: "View", label: isDark ? "Light theme" : "Dark theme", run: actions.toggleTheme },
    { group: "View", label: "Collapse folders in Explorer", run: actions.collapseFolders },
    { group: "View", label: "Refresh Explorer", run: actions.refreshFiles },
    ...when(
      writable,
      { group: "Terminal", label: "New terminal", keys: "Ctrl+Shift+`", run: actions.newTerminal },
      { group: "Terminal", label: "New plain shell (without start files)", run: actions.newPlainShell },
    ),
    ...when(
      hasTerminal,
      { group: "Terminal", label: "Find in terminal", keys: "Ctrl+F", run: actions.findInTerminal },
      {
        group: "Terminal",
        label: "Go to previous command",
        keys: "Ctrl+Up",
        run: () => actions.jumpToPrompt(-1),
      },
      {
        group: "Terminal",
        label: "Go to next command",
        keys: "Ctrl+Down",
        run: () => actions.jumpToPrompt(1),
      },
      { group: "Terminal", label: "Copy output of last command", run: actions.copyOutput },
    ),
    ...when(
      hasTerminal && writable,
      { group: "Terminal", label: "Split terminal", keys: "Ctrl+Shift+5", run: actions.splitTerminal },
      { group: "Terminal", label: "Rename terminal…", run: actions.renameTerminal },
      { group: "Terminal", label: "Clear terminal", run: actions.clearTerminal },
      { group: "Terminal", label: "Close terminal…", run: actions.closeTerminal },
    ),
    ...ports.map((port) => ({
      group: "Ports",
      label: `Open preview of port ${port}`,
      run: () => actions.openPreview(port),
    })),
    { group: "Workspace", label: "History", run: () => actions.openHistory(null) },
    ...when(hasFile, {
      group: "Workspace",
      label: "History of this file",
      run: () => actions.openHistory(file),
    }),
    { group: "Workspace", label: "Fork workspace…", run: actions.fork },
  ];
}

export interface KeyContext {
  writable: boolean;
  isTerminalFocused: boolean;
  /** A full-screen program runs in the focused terminal. */
  isFullScreen: boolean;
  /** A file is in front, so that keys of the editor have something to act on. */
  hasFile: boolean;
  /** The find widget of the editor is focused. */
  isInFindPanel: boolean;
  /** Tabs in the focused group. */
  tabCount: number;
  /** Alt types characters, as Option does on a Mac: Option+5 is "[" on German keyboards. */
  altTypes: boolean;
}

/** What is read of a key event. */
export type Key = Pick<KeyboardEvent, "key" | "code" | "ctrlKey" | "metaKey" | "altKey" | "shiftKey">;

/** The action of a key, or null. In the terminal, only keys that shells and programs do not use are bound. */
export function keyBinding(key: Key, actions: WorkbenchActions, context: KeyContext): (() => void) | null {
  const ctrl = (key.ctrlKey || key.metaKey) && !key.altKey;
  const alt = key.altKey && !key.ctrlKey && !key.metaKey;
  const shift = key.shiftKey;
  const inTerminal = context.isTerminalFocused;
  if (ctrl && key.code === "Backquote") {
    if (shift) return context.writable ? actions.newTerminal : null;
    return inTerminal ? actions.focusEditor : actions.focusTerminal;
  }
  if (ctrl && shift) {
    switch (key.code) {
      case "KeyE":
        return actions.focusExplorer;
      case "KeyG":
        return actions.focusSourceControl;
      case "KeyM":
        return actions.focusProblems;
      case "KeyO":
        return context.hasFile ? actions.openSymbolPalette : null;
      case "KeyP":
        return actions.openPalette;
      case "KeyF":
        return () => actions.focusSearch(false);
      case "KeyH":
        return context.writable ? () => actions.focusSearch(true) : null;
    }
  }
  if (key.key === "F6" && !ctrl && !(inTerminal && context.isFullScreen))
    return () => actions.cycleRegion(shift ? -1 : 1);
  if (inTerminal) return terminalBinding(key, actions, context);
  if (key.key === "F1") return actions.openPalette;
  if (key.key === "F8" && !ctrl && !alt) return () => actions.nextProblem(shift ? -1 : 1);
  if (ctrl && !shift) {
    switch (key.code) {
      case "KeyP":
        return actions.openFilePalette;
      case "KeyT":
        return actions.openWorkspaceSymbolPalette;
      case "KeyG":
        return actions.openLinePalette;
      case "Comma":
        return actions.openSettings;
      case "KeyB":
        return actions.toggleSideBar;
      case "KeyJ":
        return actions.togglePanel;
      case "KeyS":
        return actions.reportSaved;
      case "KeyH":
        return context.hasFile ? () => actions.openFind(context.writable) : null;
      case "Backslash":
        return actions.splitRight;
    }
    if (key.key === "PageDown") return () => actions.nextTab(1);
    if (key.key === "PageUp") return () => actions.nextTab(-1);
  }
  return alt ? altBinding(key, actions, context) : null;
}

/** Keys that VS Code takes from a shell, too. A full-screen program gets them. */
function terminalBinding(key: Key, actions: WorkbenchActions, context: KeyContext): (() => void) | null {
  if (!(key.ctrlKey || key.metaKey) || key.altKey) return null;
  if (key.shiftKey) return key.code === "Digit5" && context.writable ? actions.splitTerminal : null;
  if (context.isFullScreen) return null;
  if (key.code === "KeyF") return actions.findInTerminal;
  if (key.key === "ArrowUp") return () => actions.jumpToPrompt(-1);
  if (key.key === "ArrowDown") return () => actions.jumpToPrompt(1);
  return null;
}

function altBinding(key: Key, actions: WorkbenchActions, context: KeyContext): (() => void) | null {
  const name = /^(?:Key|Digit)(.)$/.exec(key.code)?.[1];
  if (name === undefined || (context.altTypes && key.key.toUpperCase() !== name)) return null;
  if (key.shiftKey) return name === "T" ? actions.reopenTab : null;
  // The find widget has it for whole words.
  if (name === "W") return context.isInFindPanel ? null : actions.closeTab;
  if (name === "Z") return actions.toggleWordWrap;
  const index = "123456789".indexOf(name);
  return index >= 0 && index < context.tabCount ? () => actions.showTab(index) : null;
}
