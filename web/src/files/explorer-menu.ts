// The context menu of the explorer. Pure: the actions are passed in.
import type { MenuEntry } from "../ui/menu";
import type { TreeRow } from "./tree-model";

export interface ExplorerMenuActions {
  open: (row: TreeRow) => void;
  beginNew: (kind: "file" | "directory", row: TreeRow | null) => void;
  chooseFiles: (row: TreeRow | null) => void;
  toggleDotfiles: () => void;
  copyPath: (row: TreeRow) => void;
  copyRelativePath: (row: TreeRow) => void;
  /** Searches the text of the files in a folder. */
  search: (row: TreeRow) => void;
  beginRename: (row: TreeRow) => void;
  askToDelete: (row: TreeRow) => void;
  cut: (row: TreeRow) => void;
  copy: (row: TreeRow) => void;
  paste: (row: TreeRow | null) => void;
  downloadUrl: (row: TreeRow) => string;
}

interface Context {
  writable: boolean;
  dotfilesShown: boolean;
  /** How many entries the menu of a selected row is about. */
  count: number;
  /** Whether entries were cut or copied. */
  canPaste: boolean;
}

/** The menu of a row. With null: of the empty area, which stands for the home. */
export function explorerMenu(
  row: TreeRow | null,
  { writable, dotfilesShown, count, canPaste }: Context,
  actions: ExplorerMenuActions,
): MenuEntry[] {
  if (row && count > 1) return menuOfSelection(row, count, writable, actions);
  const items: MenuEntry[] = [];
  if (row && row.entry.kind !== "directory")
    items.push({ label: "Open", icon: "file", run: () => actions.open(row) });
  if (writable) {
    items.push(
      { label: "New file…", icon: "filePlus", run: () => actions.beginNew("file", row) },
      { label: "New folder…", icon: "folderPlus", run: () => actions.beginNew("directory", row) },
      { label: "Upload files…", icon: "upload", run: () => actions.chooseFiles(row) },
    );
    if (canPaste) items.push({ label: "Paste", keys: "Ctrl+V", run: () => actions.paste(row) });
  }
  if (!row) {
    items.push({ label: dotfilesShown ? "Hide dotfiles" : "Show dotfiles", run: actions.toggleDotfiles });
    return items;
  }
  if (!row.entry.utf8) return [{ label: "The name is not UTF-8", disabled: true }];
  if (row.entry.kind === "file")
    items.push({ label: "Download", icon: "download", href: actions.downloadUrl(row), download: true });
  if (row.entry.kind === "directory")
    items.push("line", { label: "Search in folder…", icon: "search", run: () => actions.search(row) });
  items.push(
    "line",
    { label: "Copy path", icon: "copy", run: () => actions.copyPath(row) },
    { label: "Copy relative path", run: () => actions.copyRelativePath(row) },
  );
  if (writable) {
    items.push(
      "line",
      { label: "Cut", keys: "Ctrl+X", run: () => actions.cut(row) },
      { label: "Copy", keys: "Ctrl+C", run: () => actions.copy(row) },
      { label: "Rename…", keys: "F2", run: () => actions.beginRename(row) },
      { label: "Delete…", keys: "Del", danger: true, run: () => actions.askToDelete(row) },
    );
  }
  return items;
}

/** The menu of several selected entries. */
function menuOfSelection(
  row: TreeRow,
  count: number,
  writable: boolean,
  actions: ExplorerMenuActions,
): MenuEntry[] {
  const copy: MenuEntry = { label: "Copy paths", icon: "copy", run: () => actions.copyPath(row) };
  if (!writable) return [copy];
  return [
    copy,
    "line",
    { label: `Cut ${count} entries`, keys: "Ctrl+X", run: () => actions.cut(row) },
    { label: `Copy ${count} entries`, keys: "Ctrl+C", run: () => actions.copy(row) },
    { label: `Delete ${count} entries…`, keys: "Del", danger: true, run: () => actions.askToDelete(row) },
  ];
}
