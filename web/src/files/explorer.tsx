// The explorer: the file tree of a running home, with keyboard, menus, renaming in place, and drag and drop.
import { useRef, useState, type ComponentProps, type DragEvent, type KeyboardEvent } from "react";
import { filesApi } from "../api/endpoints";
import { ConfirmDialog } from "../ui/dialog";
import { Icon } from "../ui/icons";
import type { MenuEntry } from "../ui/menu";
import { copyText, toastError } from "../ui/toasts";
import { formatBytes } from "../ui/format";
import { childOf, isWithin, nameOf, parentOf, displayName } from "./paths";
import { visibleRows, type TreeRow as ExplorerRow } from "./tree-model";
import { DotfilesButton, TruncatedNote } from "./tree-tools";
import { TreeItem } from "./tree-item";
import { useRowMenu } from "./use-row-menu";
import { useTreeFocus } from "./use-tree-focus";
import { useUploads } from "./use-uploads";
import type { FileTree } from "./use-file-tree";
import { NameInput } from "./name-input";

/** Media type of a path that is dragged within the tree. */
const DRAG_TYPE = "application/x-burrow-path";

interface Props {
  workspace: string;
  files: FileTree;
  writable: boolean;
  active: string | null;
  onOpen: (path: string) => void;
  onRenamed: (from: string, to: string) => void;
  onRemoved: (path: string) => void;
}

/** The name that is being typed: of a new entry, or of a rename. */
type NameEdit = { kind: "file" | "directory"; directory: string } | { kind: "rename"; path: string };

export function Explorer(props: Props) {
  const { workspace, files, writable } = props;
  const [hidden, setHidden] = useState(false);
  const [editing, setEditing] = useState<NameEdit | null>(null);
  const [removing, setRemoving] = useState<ExplorerRow | null>(null);
  const [over, setOver] = useState<string | null>(null);
  const chooser = useRef<HTMLInputElement>(null);
  const chosenFor = useRef("");
  const uploads = useUploads(workspace, () => files.refresh());
  const rows = visibleRows(files.directories, files.expanded, hidden);
  const focus = useTreeFocus(rows, files.toggle);
  const { element: tree, current, focused, setFocused, focusRow } = focus;
  /** Where a new entry goes: the focused directory, or the parent of the focused file. */
  const target = (row: ExplorerRow | null | undefined): string =>
    !row ? "" : row.entry.kind === "directory" ? row.path : parentOf(row.path);

  const open = (row: ExplorerRow) => {
    if (!row.entry.utf8) toastError(new Error("The name is not UTF-8. Rename it in a terminal first."));
    else if (row.entry.kind === "directory") files.toggle(row.path);
    else if (row.entry.kind !== "other") props.onOpen(row.path);
  };
  /** Moves the focus from the tree to the editor, which takes it as soon as the text has loaded. */
  const goToEditor = (row: ExplorerRow) => {
    if (row.entry.kind === "directory" || row.entry.kind === "other") return;
    (document.activeElement as HTMLElement | null)?.blur();
    document.querySelector<HTMLElement>(".editor:not([hidden]) .cm-content")?.focus();
  };
  const beginNew = (kind: "file" | "directory", row: ExplorerRow | null | undefined) => {
    const directory = target(row);
    if (directory) files.toggle(directory, true);
    setEditing({ kind, directory });
  };
  const chooseFiles = (row: ExplorerRow | null | undefined) => {
    chosenFor.current = target(row);
    chooser.current?.click();
  };

  const onKey = (event: KeyboardEvent) => {
    if (editing || (event.target as Element).tagName === "INPUT") return;
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (!plain || !current) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      open(current);
      if (event.key === "Enter") goToEditor(current);
    } else if (event.key === "F2" && writable && current.entry.utf8) {
      event.preventDefault();
      setEditing({ kind: "rename", path: current.path });
    } else if (event.key === "Delete" && writable && current.entry.utf8) {
      event.preventDefault();
      setRemoving(current);
    } else if (!menu.onKey(event)) {
      focus.onKey(event);
    }
  };

  const finish = async (name: string) => {
    const doing = editing;
    setEditing(null);
    if (!doing) return;
    try {
      if (doing.kind === "rename") {
        const to = childOf(parentOf(doing.path), name);
        if (to === doing.path) return;
        await filesApi.rename(workspace, doing.path, to);
        files.renamed(doing.path, to);
        props.onRenamed(doing.path, to);
        setFocused(to);
        files.refresh([parentOf(doing.path), parentOf(to)]);
        return;
      }
      const path = childOf(doing.directory, name);
      if (doing.kind === "directory") await filesApi.createDirectory(workspace, path);
      else await filesApi.createFile(workspace, path);
      files.refresh();
      setFocused(path);
      if (doing.kind === "file") props.onOpen(path);
    } catch (error) {
      toastError(
        error,
        doing.kind === "rename" ? `rename ${displayName(nameOf(doing.path))}` : `create ${displayName(name)}`,
      );
    }
  };

  const move = async (from: string, directory: string) => {
    const to = childOf(directory, nameOf(from));
    if (to === from || isWithin(directory, from)) return;
    try {
      await filesApi.rename(workspace, from, to);
      files.renamed(from, to);
      props.onRenamed(from, to);
      files.refresh();
    } catch (error) {
      toastError(error, `move ${displayName(nameOf(from))}`);
    }
  };

  const onDragOver = (event: DragEvent, row: ExplorerRow | null) => {
    const types = event.dataTransfer.types;
    if (!writable || (!types.includes("Files") && !types.includes(DRAG_TYPE))) return;
    event.preventDefault();
    event.stopPropagation();
    event.dataTransfer.dropEffect = types.includes("Files") ? "copy" : "move";
    setOver(target(row));
  };
  const onDrop = (event: DragEvent, row: ExplorerRow | null) => {
    setOver(null);
    if (!writable) return;
    event.preventDefault();
    event.stopPropagation();
    const from = event.dataTransfer.getData(DRAG_TYPE);
    if (from) void move(from, target(row));
    else void uploads.drop(event.dataTransfer, target(row));
  };
  const menuItems = (row: ExplorerRow | null): MenuEntry[] => {
    const items: MenuEntry[] = [];
    if (row && row.entry.kind !== "directory")
      items.push({ label: "Open", icon: "file", run: () => open(row) });
    if (writable) {
      items.push(
        { label: "New file…", icon: "filePlus", run: () => beginNew("file", row) },
        { label: "New folder…", icon: "folderPlus", run: () => beginNew("directory", row) },
        { label: "Upload files…", icon: "upload", run: () => chooseFiles(row) },
      );
    }
    if (!row) {
      items.push({ label: hidden ? "Hide dotfiles" : "Show dotfiles", run: () => setHidden(!hidden) });
      return items;
    }
    if (!row.entry.utf8) return [{ label: "The name is not UTF-8", disabled: true }];
    if (row.entry.kind === "file") {
      items.push({
        label: "Download",
        icon: "download",
        href: filesApi.downloadUrl(workspace, row.path),
        download: true,
      });
    }
    items.push("line", {
      label: "Copy path",
      icon: "copy",
      run: () => void copyText(`~/${row.path}`, "Path"),
    });
    if (writable) {
      items.push(
        "line",
        { label: "Rename…", keys: "F2", run: () => setEditing({ kind: "rename", path: row.path }) },
        { label: "Delete…", keys: "Del", danger: true, run: () => setRemoving(row) },
      );
    }
    return items;
  };
  const menu = useRowMenu(focus, menuItems);

  const nameInput = (depth: number, initial: string, icon: "file" | "folder") => (
    <NameInput
      depth={depth}
      initial={initial}
      icon={icon}
      onDone={(name) => void finish(name)}
      onCancel={() => {
        setEditing(null);
        focusRow(focused);
      }}
    />
  );
  const newAt = editing && editing.kind !== "rename" ? editing : null;

  return (
    <div
      className="tree-pane"
      onDragOver={(event) => onDragOver(event, null)}
      onDragLeave={(event) => {
        if (!event.currentTarget.contains(event.relatedTarget as Node | null)) setOver(null);
      }}
      onDrop={(event) => onDrop(event, null)}
      onContextMenu={(event) => menu.open(event, null)}
    >
      <div className="pane-head">
        <h2>Explorer</h2>
        {writable && (
          <>
            <button
              className="icon-button"
              aria-label="New file"
              title="New file"
              onClick={() => beginNew("file", current)}
            >
              <Icon name="filePlus" />
            </button>
            <button
              className="icon-button"
              aria-label="New folder"
              title="New folder"
              onClick={() => beginNew("directory", current)}
            >
              <Icon name="folderPlus" />
            </button>
            <button
              className="icon-button"
              aria-label="Upload files"
              title="Upload files"
              onClick={() => chooseFiles(current)}
            >
              <Icon name="upload" />
            </button>
          </>
        )}
        <DotfilesButton shown={hidden} onChange={setHidden} />
      </div>
      {files.failure && <p className="notice bad tree-note">{files.failure}</p>}
      {over === "" && <p className="drop-hint">Drop files to upload them to the home</p>}
      <ul
        ref={tree}
        role="tree"
        aria-label="Files"
        className="tree"
        onKeyDown={onKey}
        onDoubleClick={() => !editing && current && goToEditor(current)}
      >
        {newAt?.directory === "" && nameInput(0, "", newAt.kind === "directory" ? "folder" : "file")}
        {rows.map((row) => (
          <ExplorerRow
            key={row.path}
            row={row}
            focus={focus}
            menu={menu}
            active={row.path === props.active}
            className={over !== null && over !== "" && row.path === over ? "over" : ""}
            renaming={editing?.kind === "rename" && editing.path === row.path}
            nameInput={nameInput}
            newBelow={newAt?.directory === row.path ? newAt.kind : null}
            draggable={writable && row.entry.utf8}
            onOpen={open}
            onDragOver={(event) => onDragOver(event, row)}
            onDrop={(event) => onDrop(event, row)}
          />
        ))}
      </ul>
      {rows.length === 0 && files.directories.has("") && !editing && (
        <p className="tree-note soft small">
          {writable ? "No files yet. Create a file or drop files here." : "No files yet."}
        </p>
      )}
      <TruncatedNote directories={files.directories} />
      <input
        ref={chooser}
        type="file"
        multiple
        hidden
        onChange={(event) => {
          const list = [...(event.target.files ?? [])];
          void uploads.add(
            list.map((file) => ({ path: file.name, file })),
            chosenFor.current,
          );
          event.target.value = "";
        }}
      />
      {uploads.element}
      {menu.element}
      {removing && (
        <ConfirmDialog
          title={`Delete ${displayName(removing.entry.name)}?`}
          text={
            removing.entry.kind === "directory"
              ? "The folder and everything in it are deleted. This cannot be undone."
              : "This cannot be undone."
          }
          action="Delete"
          onClose={() => setRemoving(null)}
          onConfirm={async () => {
            await filesApi.remove(workspace, removing.path, removing.entry.kind === "directory");
            props.onRemoved(removing.path);
            files.refresh([parentOf(removing.path)]);
          }}
        />
      )}
    </div>
  );
}

interface RowProps extends ComponentProps<typeof TreeItem> {
  renaming: boolean;
  nameInput: (depth: number, initial: string, icon: "file" | "folder") => React.ReactNode;
  newBelow: "file" | "directory" | null;
}

function ExplorerRow({ renaming, nameInput, newBelow, ...props }: RowProps) {
  const { row } = props;
  const { entry } = row;
  if (renaming) return nameInput(row.depth, entry.name, entry.kind === "directory" ? "folder" : "file");
  const about =
    entry.kind === "symlink"
      ? `→ ${displayName(entry.target ?? "")}`
      : entry.kind === "file"
        ? formatBytes(entry.size)
        : "";
  return (
    <>
      <TreeItem
        {...props}
        title={about ? `${displayName(entry.name)} · ${about}` : displayName(entry.name)}
        onDragStart={(event) => event.dataTransfer.setData(DRAG_TYPE, row.path)}
      />
      {newBelow && nameInput(row.depth + 1, "", newBelow === "directory" ? "folder" : "file")}
    </>
  );
}
