// Creates snapshots and restores the whole home, with undo. The network side of the history page.
import { useState } from "react";
import { snapshotsApi } from "../api/endpoints";
import type { Snapshot, Workspace } from "../api/types";
import { toast, toastError } from "../ui/toasts";
import type { Point } from "./timeline-model";
import type { Snapshots } from "./use-snapshots";

export interface HomeRestore {
  isCreating: boolean;
  /** Creates a snapshot, then calls `onCreated`. */
  createSnapshot: (onCreated: (snapshot: Snapshot) => void) => void;
  /** Restores the home from `point`. Throws if it fails. */
  restore: (point: Point) => Promise<void>;
  /** The last restore, while it can be undone. */
  undoable: { restored: Point; previous: Snapshot } | null;
  undo: () => void;
  dismiss: () => void;
}

export function useHomeRestore(
  workspace: Workspace,
  snapshots: Snapshots,
  onChanged: (workspace: Workspace) => void,
): HomeRestore {
  const [isCreating, setCreating] = useState(false);
  const [undoable, setUndoable] = useState<HomeRestore["undoable"]>(null);
  const createSnapshot = (onCreated: (snapshot: Snapshot) => void) => {
    setCreating(true);
    snapshotsApi
      .create(workspace.id)
      .then(
        (snapshot) => {
          snapshots.update(snapshot);
          onCreated(snapshot);
          toast("Snapshot created");
        },
        (error: unknown) => toastError(error, "create a snapshot"),
      )
      .finally(() => setCreating(false));
  };
  const restore = async (point: Point) => {
    // Of a stopped workspace, this is the current home, which is not the newest snapshot if it was
    // restored before.
    const previous = await snapshotsApi.create(workspace.id);
    snapshots.update(previous);
    onChanged(await snapshotsApi.restore(workspace.id, point.id));
    setUndoable({ restored: point, previous });
  };
  const undo = () => {
    if (!undoable) return;
    snapshotsApi.restore(workspace.id, undoable.previous.id).then(
      (changed) => {
        onChanged(changed);
        setUndoable(null);
        toast("Restore undone");
      },
      (error: unknown) => toastError(error, "undo the restore"),
    );
  };
  return { isCreating, createSnapshot, restore, undoable, undo, dismiss: () => setUndoable(null) };
}
