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
  downloadUrl: (row: TreeRow) => string;
}

interface Context {
  writable: boolean;
  dotfilesShown: boolean;
}

/** The menu of a row. With null: of the empty area, which stands for the home. */
export function explorerMenu(
  row: TreeRow | null,
  { writable, dotfilesShown }: Context,
  actions: ExplorerMenuActions,
): MenuEntry[] {
  const items: MenuEntry[] = [];
  if (row && row.entry.kind !== "directory")
    items.push({ label: "Open", icon: "file", run: () => actions.open(row) });
  if (writable) {
    items.push(
      { label: "New file…", icon: "filePlus", run: () => actions.beginNew("file", row) },
      { label: "New folder…", icon: "folderPlus", run: () => actions.beginNew("directory", row) },
      { label: "Upload files…", icon: "upload", run: () => actions.chooseFiles(row) },
    );
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
      { label: "Rename…", keys: "F2", run: () => actions.beginRename(row) },
      { label: "Delete…", keys: "Del", danger: true, run: () => actions.askToDelete(row) },
    );
  }
  return items;
}
