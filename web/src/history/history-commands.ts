// The commands of the history page: the menu of the selected snapshot, the palette, and why a
// command is disabled. Pure: the actions are passed in.
import type { Workspace } from "../api/types";
import type { Command } from "../ui/commands";
import type { MenuEntry } from "../ui/menu";
import { zooms, type Zoom } from "./timeline-model";

export type HistoryDialog = "name" | "fork" | "restore" | "delete" | "verify" | "commands";

/** Why a command is disabled; empty if it is enabled. */
export interface Reasons {
  create: string;
  /** Name, verify and delete snapshots. */
  edit: string;
  restoreHome: string;
  restoreFiles: string;
}

export function reasonsOf(workspace: Pick<Workspace, "access" | "phase">, isCreating: boolean): Reasons {
  const edit = workspace.access === "write" ? "" : "You have read-only access to this workspace.";
  const isRunning = workspace.phase === "running";
  const isStopped = workspace.phase === "terminated";
  return {
    edit,
    create: edit || (isCreating ? "A snapshot is being created." : ""),
    restoreHome: edit || (isStopped ? "" : "Stop the workspace first. It is using the home."),
    restoreFiles:
      edit || (isRunning ? "" : "Start the workspace first. Files are restored into the running home."),
  };
}

export interface HistoryActions {
  openDialog: (dialog: HistoryDialog) => void;
  createSnapshot: () => void;
  /** Compares with the selected snapshot from now on, or with null: with the current home. */
  pin: (at: number | null) => void;
  zoomTo: (zoom: Zoom) => void;
  showPane: (pane: "files" | "changes") => void;
  showFile: (mode: "content" | "diff") => void;
  closeFile: () => void;
  goToNewest: () => void;
  goToOldest: () => void;
  focusNextRegion: () => void;
}

interface MenuContext {
  reasons: Reasons;
  /** The time of the selected snapshot. */
  at: number;
  isPinned: boolean;
}

export function snapshotMenu(actions: HistoryActions, { reasons, at, isPinned }: MenuContext): MenuEntry[] {
  return [
    { label: "Name snapshot…", reason: reasons.edit, run: () => actions.openDialog("name") },
    { label: "Fork…", icon: "fork", run: () => actions.openDialog("fork") },
    {
      label: "Restore home…",
      icon: "restore",
      reason: reasons.restoreHome,
      run: () => actions.openDialog("restore"),
    },
    {
      label: isPinned ? "Compare with current" : "Compare with this snapshot",
      icon: "pin",
      run: () => actions.pin(isPinned ? null : at),
    },
    "line",
    { label: "Create snapshot", icon: "plus", reason: reasons.create, run: actions.createSnapshot },
    { label: "Verify home…", icon: "check", reason: reasons.edit, run: () => actions.openDialog("verify") },
    "line",
    {
      label: "Delete snapshot…",
      danger: true,
      reason: reasons.edit,
      run: () => actions.openDialog("delete"),
    },
  ];
}

/** The commands of the palette: what is enabled in `menu`, then the views. */
export function historyCommands(
  actions: HistoryActions,
  menu: readonly MenuEntry[],
  isFileOpen: boolean,
): Command[] {
  const file = [
    { group: "File", label: "Show file content", run: () => actions.showFile("content") },
    { group: "File", label: "Show diff of the file", run: () => actions.showFile("diff") },
    { group: "File", label: "Close file", run: actions.closeFile },
  ];
  return [
    ...menu.flatMap((item) =>
      item === "line" || item.reason
        ? []
        : [{ group: "Snapshot", label: item.label, run: item.run ?? (() => undefined) }],
    ),
    ...zooms.map((zoom) => ({
      group: "View",
      label: `Show a${zoom === "hour" ? "n" : ""} ${zoom}`,
      run: () => actions.zoomTo(zoom),
    })),
    { group: "View", label: "Show files", run: () => actions.showPane("files") },
    { group: "View", label: "Show changes", run: () => actions.showPane("changes") },
    ...(isFileOpen ? file : []),
    { group: "Go", label: "Go to newest snapshot", keys: "End", run: actions.goToNewest },
    { group: "Go", label: "Go to oldest snapshot", keys: "Home", run: actions.goToOldest },
    { group: "Go", label: "Next region", keys: "F6", run: actions.focusNextRegion },
  ];
}
