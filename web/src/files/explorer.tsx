// The explorer: the file tree of a running home, with keyboard, menus, renaming in place, and drag and drop.
import { explorerMenu } from "./explorer-menu";
import { fileActions } from "./file-actions";
import {
  useEffect,
  useMemo,
  useRef,
  useState,
  type DragEvent,
  type KeyboardEvent,
  type MouseEvent,
} from "react";
import { filesApi } from "../api/endpoints";
import type { Decoration } from "../git/git-model";
import { ConfirmDialog } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { copyText, toastError } from "../ui/toasts";
import { formatBytes } from "../ui/format";
import { ancestorsOf, parentOf, displayName } from "./paths";
import { actedRows, NO_SELECTION, selectOnly, selectRange, toggleSelected } from "./selection";
import { visibleRows, type TreeRow } from "./tree-model";
import { DotfilesButton, TruncatedNote } from "./tree-tools";
import { TreeItem } from "./tree-item";
import { TreeRows, type TreeLine } from "./tree-rows";
import { useRowMenu } from "./use-row-menu";
import { useTreeFocus } from "./use-tree-focus";
import { useUploads } from "./use-uploads";
import { EDITOR_TARGET } from "../workbench/focus-regions";
import type { FileTree } from "./use-file-tree";
import { NameInput } from "./name-input";

/** Media type of paths that are dragged within the tree: a JSON array. */
const DRAG_TYPE = "application/x-burrow-paths";
/** Key of the line with the name that is being typed. No path has it. */
const NAME_INPUT_KEY = "/name";

interface Props {
  workspace: string;
  files: FileTree;
  writable: boolean;
  active: string | null;
  /** Marks of changed files and folders, by path. */
  decorations: ReadonlyMap<string, Decoration>;
  /** What to show in the tree. Each request has another object. */
  reveal: TreeReveal | null;
  onOpen: (path: string, isPreview: boolean) => void;
  onRenamed: (from: string, to: string) => void;
  onRemoved: (path: string) => void;
  /** Searches the text of the files in a folder. */
  onSearch: (directory: string) => void;
}

interface FileClipboard {
  paths: readonly string[];
  /** Whether they are moved, or copied. */
  isCut: boolean;
}

const EMPTY_CLIPBOARD: FileClipboard = { paths: [], isCut: false };

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
  const [removing, setRemoving] = useState<readonly TreeRow[] | null>(null);
  const [selection, setSelection] = useState(NO_SELECTION);
  /** What waits to be pasted elsewhere. */
  const [clipboard, setClipboard] = useState<FileClipboard>(EMPTY_CLIPBOARD);
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
    document.querySelector<HTMLElement>(EDITOR_TARGET)?.focus();
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

  const acted = (row: TreeRow) => actedRows(selection, row, rows);
  const take = (row: TreeRow, isCut: boolean) =>
    setClipboard({ paths: acted(row).map(({ path }) => path), isCut });
  const paste = (row: TreeRow | null | undefined) => {
    const { paths, isCut } = clipboard;
    setSelection(NO_SELECTION);
    if (isCut) setClipboard(EMPTY_CLIPBOARD);
    const directory = target(row);
    if (isCut) void actions.move(paths, directory);
    // A copy of the folder that is still selected goes beside it.
    else void actions.copy(paths, paths.includes(directory) ? parentOf(directory) : directory);
  };
  const askToDelete = (row: TreeRow) => {
    const rows = acted(row);
    if (rows.length > 0) setRemoving(rows);
  };
  const onSelect = (event: MouseEvent, row: TreeRow): boolean => {
    if (event.ctrlKey || event.metaKey) setSelection(toggleSelected(selection, row.path));
    else if (event.shiftKey) setSelection(selectRange(selection, row.path, rows));
    else {
      setSelection(selectOnly(row.path));
      return false;
    }
    return true;
  };
  /** Keys that change the selection or act on it. Returns whether it was one. */
  const onSelectionKey = (event: KeyboardEvent, row: TreeRow): boolean => {
    const ctrl = (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey;
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.shiftKey && by !== undefined) {
      const next = rows[rows.indexOf(row) + by];
      if (!next) return true;
      const begun = selection.paths.has(row.path) ? selection : selectOnly(row.path);
      setSelection(selectRange(begun, next.path, rows));
      focusRow(next.path);
    } else if (event.key === "Escape" && (selection.paths.size > 0 || clipboard.paths.length > 0)) {
      setSelection(NO_SELECTION);
      setClipboard(EMPTY_CLIPBOARD);
    } else if (ctrl && event.code === "KeyA") {
      setSelection({ paths: new Set(rows.map(({ path }) => path)), anchor: row.path });
    } else if (ctrl && ["KeyX", "KeyC"].includes(event.code) && writable) {
      take(row, event.code === "KeyX");
    } else if (ctrl && event.code === "KeyV" && writable && clipboard.paths.length > 0) {
      paste(row);
    } else {
      return false;
    }
    return true;
  };

  const onKey = (event: KeyboardEvent) => {
    if (editing || (event.target as Element).tagName === "INPUT") return;
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (current && onSelectionKey(event, current)) {
      event.preventDefault();
      return;
    }
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
      askToDelete(current);
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
    const dragged = event.dataTransfer.getData(DRAG_TYPE);
    if (dragged) void actions.move(JSON.parse(dragged) as string[], target(row));
    else void uploads.drop(event.dataTransfer, target(row));
  };
  const menu = useRowMenu(focus, (row) =>
    explorerMenu(
      row,
      {
        writable,
        dotfilesShown: hidden,
        count: row ? acted(row).length : 0,
        canPaste: clipboard.paths.length > 0,
      },
      {
        open,
        beginNew,
        chooseFiles,
        toggleDotfiles: () => setHidden(!hidden),
        copyPath: (row) => {
          const paths = acted(row).map(({ path }) => `~/${path}`);
          void copyText(paths.join("\n"), paths.length === 1 ? "Path" : "Paths");
        },
        cut: (row) => take(row, true),
        copy: (row) => take(row, false),
        paste,
        copyRelativePath: ({ path }) => void copyText(path, "Path"),
        search: ({ path }) => props.onSearch(path),
        beginRename: ({ path }) => setEditing({ kind: "rename", path }),
        askToDelete,
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
              decoration={props.decorations.get(row.path)}
              selected={selection.paths.has(row.path)}
              className={[
                over !== null && over !== "" && row.path === over && "over",
                clipboard.isCut && clipboard.paths.includes(row.path) && "cut",
              ]
                .filter(Boolean)
                .join(" ")}
              title={aboutRow(row)}
              draggable={writable && row.entry.utf8}
              onSelect={onSelect}
              onOpen={open}
              onDragStart={(event) => {
                const paths = acted(row).map(({ path }) => path);
                event.dataTransfer.setData(DRAG_TYPE, JSON.stringify(paths));
              }}
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
        aria-multiselectable="true"
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
          title={`Delete ${nameOfRows(removing)}?`}
          text={
            removing.some(({ entry }) => entry.kind === "directory")
              ? "Folders are deleted with everything in them. This cannot be undone."
              : "This cannot be undone."
          }
          action="Delete"
          onClose={() => setRemoving(null)}
          onConfirm={async () => {
            await actions.remove(removing);
            setSelection(NO_SELECTION);
          }}
        />
      )}
    </div>
  );
}

const iconOf = ({ entry }: TreeRow): "file" | "folder" => (entry.kind === "directory" ? "folder" : "file");

function nameOfRows(rows: readonly TreeRow[]): string {
  const [only] = rows;
  return rows.length === 1 && only ? displayName(only.entry.name) : `${rows.length} entries`;
}

function aboutRow({ entry }: TreeRow): string {
  const name = displayName(entry.name);
  if (entry.kind === "symlink") return `${name} · → ${displayName(entry.target ?? "")}`;
  return entry.kind === "file" ? `${name} · ${formatBytes(entry.size)}` : name;
}
