// Confirms that the whole home is replaced by a snapshot.
import type { Workspace } from "../api/types";
import { ConfirmDialog } from "../ui/dialog";
import { formatFullInstant } from "../ui/format";
import type { Point } from "./timeline-model";

interface RestoreProps {
  workspace: Workspace;
  point: Point;
  onConfirm: () => Promise<void>;
  onClose: () => void;
}

export function RestoreHomeDialog({ workspace, point, onConfirm, onClose }: RestoreProps) {
  return (
    <ConfirmDialog
      title="Restore the whole home?"
      text={
        <>
          The home of <strong>{workspace.name}</strong> is replaced by the snapshot of{" "}
          <strong>{formatFullInstant(point.at)}</strong>. A snapshot of the current home is created first, so
          you can undo this.
        </>
      }
      action="Restore home"
      confirmationText={workspace.name}
      onConfirm={onConfirm}
      onClose={onClose}
    />
  );
}
