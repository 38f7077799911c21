// The explorer: the file tree of a running home, with keyboard, menus, renaming in place, and drag and drop.
import { explorerMenu } from "./explorer-menu";
import { fileActions } from "./file-actions";
import { useEffect, useMemo, useRef, useState, type DragEvent, type KeyboardEvent } from "react";
import { filesApi } from "../api/endpoints";
import { ConfirmDialog } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { copyText, toastError } from "../ui/toasts";
import { formatBytes } from "../ui/format";
import { ancestorsOf, parentOf, displayName } from "./paths";
import { visibleRows, type TreeRow } from "./tree-model";
import { DotfilesButton, TruncatedNote } from "./tree-tools";
import { TreeItem } from "./tree-item";
import { TreeRows, type TreeLine } from "./tree-rows";
import { useRowMenu } from "./use-row-menu";
import { useTreeFocus } from "./use-tree-focus";
import { useUploads } from "./use-uploads";
import type { FileTree } from "./use-file-tree";
import { NameInput } from "./name-input";

/** Media type of a path that is dragged within the tree. */
const DRAG_TYPE = "application/x-burrow-path";
/** Key of the line with the name that is being typed. No path has it. */
const NAME_INPUT_KEY = "/name";

interface Props {
  workspace: string;
  files: FileTree;
  writable: boolean;
  active: string | null;
  /** What to show in the tree. Each request has another object. */
  reveal: TreeReveal | null;
  onOpen: (path: string, isPreview: boolean) => void;
  onRenamed: (from: string, to: string) => void;
  onRemoved: (path: string) => void;
  /** Searches the text of the files in a folder. */
  onSearch: (directory: string) => void;
}

export interface TreeReveal {
  path: string;
  /** A folder, whose content is shown too. */
  isFolder: boolean;
}

/** The name that is being typed: of a new entry, or of a rename. */
type NameEdit = { kind: "file" | "directory"; directory: string } | { kind: "rename"; path: string };

export function Explorer(props: Props) {
  const { workspace, files, writable } = props;
  const [hidden, setHidden] = useState(false);
  const [editing, setEditing] = useState<NameEdit | null>(null);
  const [removing, setRemoving] = useState<TreeRow | null>(null);
  const [over, setOver] = useState<string | null>(null);
  const chooser = useRef<HTMLInputElement>(null);
  const chosenFor = useRef("");
  const pendingReveal = useRef<string | null>(null);
  const actions = fileActions(props);
  const uploads = useUploads(workspace, () => files.refresh());
  const rows = useMemo(
    () => visibleRows(files.directories, files.expanded, hidden),
    [files.directories, files.expanded, hidden],
  );
  const focus = useTreeFocus(rows, files.toggle);
  const { element: tree, current, focused, setFocused, focusRow } = focus;
  const { toggle } = files;
  const { reveal } = props;
  useEffect(() => {
    if (!reveal) return;
    for (const folder of ancestorsOf(reveal.path)) toggle(folder, true);
    if (reveal.isFolder) toggle(reveal.path, true);
    if (reveal.path.split("/").some((name) => name.startsWith("."))) setHidden(true);
    setFocused(reveal.path);
    pendingReveal.current = reveal.path;
  }, [reveal, toggle, setFocused]);
  // Its folder may have to be listed first.
  useEffect(() => {
    const path = pendingReveal.current;
    if (path === null || !rows.some((row) => row.path === path)) return;
    pendingReveal.current = null;
    focusRow(path);
  });
  /** Where a new entry goes: the focused directory, or the parent of the focused file. */
  const target = (row: TreeRow | null | undefined): string =>
    !row ? "" : row.entry.kind === "directory" ? row.path : parentOf(row.path);

  const open = (row: TreeRow) => {
    if (!row.entry.utf8) toastError(new Error("The name is not UTF-8. Rename it in a terminal first."));
    else if (row.entry.kind === "directory") files.toggle(row.path);
    else if (row.entry.kind !== "other") props.onOpen(row.path, true);
  };
  /** Moves the focus from the tree to the editor, which takes it as soon as the text has loaded. */
  const goToEditor = (row: TreeRow) => {
    if (row.entry.kind === "directory" || row.entry.kind === "other" || !row.entry.utf8) return;
    props.onOpen(row.path, false);
    (document.activeElement as HTMLElement | null)?.blur();
    document.querySelector<HTMLElement>(".editor:not([hidden]) .cm-content")?.focus();
  };
  const beginNew = (kind: "file" | "directory", row: TreeRow | null | undefined) => {
    const directory = target(row);
    if (directory) files.toggle(directory, true);
    setEditing({ kind, directory });
  };
  const chooseFiles = (row: TreeRow | null | undefined) => {
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
    const edit = editing;
    setEditing(null);
    if (!edit) return;
    const path =
      edit.kind === "rename"
        ? await actions.rename(edit.path, name)
        : await actions.create(edit.kind, edit.directory, name);
    if (path === null) return;
    setFocused(path);
    if (edit.kind === "file") props.onOpen(path, false);
  };

  const onDragOver = (event: DragEvent, row: TreeRow | null) => {
    const types = event.dataTransfer.types;
    if (!writable || (!types.includes("Files") && !types.includes(DRAG_TYPE))) return;
    event.preventDefault();
    event.stopPropagation();
    event.dataTransfer.dropEffect = types.includes("Files") ? "copy" : "move";
    setOver(target(row));
  };
  const onDrop = (event: DragEvent, row: TreeRow | null) => {
    setOver(null);
    if (!writable) return;
    event.preventDefault();
    event.stopPropagation();
    const from = event.dataTransfer.getData(DRAG_TYPE);
    if (from) void actions.move(from, target(row));
    else void uploads.drop(event.dataTransfer, target(row));
  };
  const menu = useRowMenu(focus, (row) =>
    explorerMenu(
      row,
      { writable, dotfilesShown: hidden },
      {
        open,
        beginNew,
        chooseFiles,
        toggleDotfiles: () => setHidden(!hidden),
        copyPath: ({ path }) => void copyText(`~/${path}`, "Path"),
        copyRelativePath: ({ path }) => void copyText(path, "Path"),
        search: ({ path }) => props.onSearch(path),
        beginRename: ({ path }) => setEditing({ kind: "rename", path }),
        askToDelete: setRemoving,
        downloadUrl: ({ path }) => filesApi.downloadUrl(workspace, path),
      },
    ),
  );

  const nameInput = (depth: number, initial: string, icon: "file" | "folder") => (
    <NameInput
      key={NAME_INPUT_KEY}
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
  const newLine = (depth: number): TreeLine => ({
    key: NAME_INPUT_KEY,
    render: () => nameInput(depth, "", newAt?.kind === "directory" ? "folder" : "file"),
  });
  const rowLine = (row: TreeRow): TreeLine =>
    editing?.kind === "rename" && editing.path === row.path
      ? { key: NAME_INPUT_KEY, render: () => nameInput(row.depth, row.entry.name, iconOf(row)) }
      : {
          key: row.path,
          render: () => (
            <TreeItem
              key={row.path}
              row={row}
              focus={focus}
              menu={menu}
              active={row.path === props.active}
              className={over !== null && over !== "" && row.path === over ? "over" : ""}
              title={aboutRow(row)}
              draggable={writable && row.entry.utf8}
              onOpen={open}
              onDragStart={(event) => event.dataTransfer.setData(DRAG_TYPE, row.path)}
              onDragOver={(event) => onDragOver(event, row)}
              onDrop={(event) => onDrop(event, row)}
            />
          ),
        };
  const lines = [
    ...(newAt?.directory === "" ? [newLine(0)] : []),
    ...rows.flatMap((row) =>
      newAt && newAt.directory === row.path ? [rowLine(row), newLine(row.depth + 1)] : [rowLine(row)],
    ),
  ];

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
        <button
          className="icon-button"
          aria-label="Collapse folders"
          title="Collapse folders"
          onClick={files.collapseAll}
        >
          <Icon name="collapse" />
        </button>
        <DotfilesButton shown={hidden} onChange={setHidden} />
      </div>
      {files.failure && <p className="notice bad tree-note">{files.failure}</p>}
      {over === "" && <p className="drop-hint">Drop files and folders to upload them to the home</p>}
      <ul
        ref={tree}
        role="tree"
        aria-label="Files"
        className="tree"
        onKeyDown={onKey}
        onDoubleClick={() => !editing && current && goToEditor(current)}
      >
        <TreeRows scroller={tree} lines={lines} kept={[focused, NAME_INPUT_KEY]} />
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
          void uploads.add([...(event.target.files ?? [])], chosenFor.current);
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
          onConfirm={() => actions.remove(removing)}
        />
      )}
    </div>
  );
}

const iconOf = ({ entry }: TreeRow): "file" | "folder" => (entry.kind === "directory" ? "folder" : "file");

function aboutRow({ entry }: TreeRow): string {
  const name = displayName(entry.name);
  if (entry.kind === "symlink") return `${name} · → ${displayName(entry.target ?? "")}`;
  return entry.kind === "file" ? `${name} · ${formatBytes(entry.size)}` : name;
}
