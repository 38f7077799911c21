// Changes to the files of a running home: create, rename, move, delete. Each updates the file tree
// and reports its errors.
import { filesApi } from "../api/endpoints";
import { toast, toastError } from "../ui/toasts";
import { ApiError } from "../api/client";
import { ancestorsOf, childOf, displayName, isWithin, nameOf, parentOf } from "./paths";
import type { TreeRow } from "./tree-model";
import type { FileTree } from "./use-file-tree";

export interface FileActions {
  /** Returns the new path, or null if it failed. */
  create: (kind: "file" | "directory", directory: string, name: string) => Promise<string | null>;
  /** Returns the new path, or null if it failed or the name is unchanged. */
  rename: (path: string, name: string) => Promise<string | null>;
  move: (path: string, directory: string) => Promise<void>;
  /** Throws if it fails: the confirmation dialog shows the error. */
  remove: (row: TreeRow) => Promise<void>;
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
    move: async (path, directory) => {
      const to = childOf(directory, nameOf(path));
      if (to === path || isWithin(directory, path)) return;
      try {
        await renameTo(path, to);
        files.refresh();
        const place = displayName(directory === "" ? "the home" : nameOf(directory));
        toast(`${displayName(nameOf(path))} moved to ${place}`, {
          label: "Undo",
          run: () => {
            renameTo(to, path).then(
              () => files.refresh(),
              (error: unknown) => toastError(error, `move ${displayName(nameOf(path))} back`),
            );
          },
        });
      } catch (error) {
        toastError(error, `move ${displayName(nameOf(path))}`);
      }
    },
    remove: async (row) => {
      await filesApi.remove(workspace, row.path, row.entry.kind === "directory");
      onRemoved(row.path);
      files.refresh([parentOf(row.path)]);
    },
  };
}

/** A folder that exists is as good as a new one. */
function ignoreExisting(error: unknown): void {
  if (!(error instanceof ApiError && error.code === "conflict")) throw error;
}
