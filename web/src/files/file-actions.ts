// Changes to the files of a running home: create, rename, move, delete. Each updates the file tree
// and reports its errors.
import { ApiError } from "../api/client";
import { filesApi } from "../api/endpoints";
import { toast, toastError } from "../ui/toasts";
import { ancestorsOf, childOf, displayName, isWithin, nameOf, parentOf } from "./paths";
import type { TreeRow } from "./tree-model";
import type { FileTree } from "./use-file-tree";

export interface FileActions {
  /** Returns the new path, or null if it failed. */
  create: (kind: "file" | "directory", directory: string, name: string) => Promise<string | null>;
  /** Returns the new path, or null if it failed or the name is unchanged. */
  rename: (path: string, name: string) => Promise<string | null>;
  /** Moves files and folders into a directory, with an Undo. */
  move: (paths: readonly string[], directory: string) => Promise<void>;
  /** Copies files and folders into a directory. A name that is taken there gets a number. */
  copy: (paths: readonly string[], directory: string) => Promise<void>;
  /** Throws if it fails: the confirmation dialog shows the error. */
  remove: (rows: readonly TreeRow[]) => Promise<void>;
}

interface Options {
  workspace: string;
  files: FileTree;
  onRenamed: (from: string, to: string) => void;
  onRemoved: (path: string) => void;
}

export function fileActions({ workspace, files, onRenamed, onRemoved }: Options): FileActions {
  const renameTo = async (from: string, to: string) => {
    await filesApi.rename(workspace, from, to);
    files.renamed(from, to);
    onRenamed(from, to);
  };
  /** Renames one after the other until one fails. Returns those that succeeded. */
  const renameAll = async (moves: readonly Move[]): Promise<Move[]> => {
    const done: Move[] = [];
    for (const move of moves) {
      try {
        await renameTo(move.from, move.to);
        done.push(move);
      } catch (error) {
        toastError(error, `move ${displayName(nameOf(move.from))}`);
        break;
      }
    }
    files.refresh();
    return done;
  };
  const copyTo = async (path: string, directory: string) => {
    for (let attempt = parentOf(path) === directory ? 1 : 0; ; attempt += 1) {
      try {
        await filesApi.copy(workspace, path, childOf(directory, copyName(nameOf(path), attempt)));
        return;
      } catch (error) {
        const isTaken = error instanceof ApiError && error.code === "conflict";
        if (!isTaken || attempt >= MAX_COPY_NAMES) throw error;
      }
    }
  };
  return {
    create: async (kind, directory, name) => {
      const path = childOf(directory, name);
      const parent = parentOf(path);
      try {
        // A name with slashes creates the folders too.
        if (parent !== directory)
          await filesApi.createDirectory(workspace, parent, true).catch(ignoreExisting);
        if (kind === "directory") await filesApi.createDirectory(workspace, path);
        else await filesApi.createFile(workspace, path);
      } catch (error) {
        toastError(error, `create ${displayName(name)}`);
        return null;
      }
      for (const above of ancestorsOf(path)) files.toggle(above, true);
      files.refresh();
      return path;
    },
    rename: async (path, name) => {
      const to = childOf(parentOf(path), name);
      if (to === path) return null;
      try {
        await renameTo(path, to);
      } catch (error) {
        toastError(error, `rename ${displayName(nameOf(path))}`);
        return null;
      }
      files.refresh([parentOf(path), parentOf(to)]);
      return to;
    },
    move: async (paths, directory) => {
      const done = await renameAll(movesInto(paths, directory));
      const [first] = done;
      if (!first) return;
      const what = done.length === 1 ? displayName(nameOf(first.from)) : `${done.length} entries`;
      toast(`${what} moved to ${directory === "" ? "the home" : displayName(nameOf(directory))}`, {
        label: "Undo",
        run: () => void renameAll(done.map(({ from, to }) => ({ from: to, to: from })).reverse()),
      });
    },
    copy: async (paths, directory) => {
      try {
        for (const path of paths) await copyTo(path, directory);
      } catch (error) {
        toastError(error, "copy");
      }
      files.refresh();
    },
    remove: async (rows) => {
      try {
        for (const row of rows) {
          await filesApi.remove(workspace, row.path, row.entry.kind === "directory");
          onRemoved(row.path);
        }
      } finally {
        files.refresh(rows.map(({ path }) => parentOf(path)));
      }
    },
  };
}

/** How many names are tried for a copy. */
const MAX_COPY_NAMES = 50;

/** The name of a copy: itself at first, then "name copy.ext", "name copy 2.ext". */
export function copyName(name: string, attempt: number): string {
  if (attempt === 0) return name;
  const dot = name.lastIndexOf(".");
  const [stem, ending] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ""];
  return `${stem} copy${attempt === 1 ? "" : ` ${attempt}`}${ending}`;
}

export interface Move {
  from: string;
  to: string;
}

/** The renames that move `paths` into a directory. What is there already, or around it, stays. */
export function movesInto(paths: readonly string[], directory: string): Move[] {
  return paths
    .filter((path) => parentOf(path) !== directory && !isWithin(directory, path))
    .map((path) => ({ from: path, to: childOf(directory, nameOf(path)) }));
}

/** A folder that exists is as good as a new one. */
function ignoreExisting(error: unknown): void {
  if (!(error instanceof ApiError && error.code === "conflict")) throw error;
}
