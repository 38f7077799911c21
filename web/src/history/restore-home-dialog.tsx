// Confirms that the whole home is replaced by a snapshot.
import type { Workspace } from "../api/types";
import { Confirm } from "../ui/dialog";
import { wholeInstant } from "../ui/format";
import type { Point } from "./timeline-model";

interface RestoreProps {
  workspace: Workspace;
  point: Point;
  onConfirm: () => Promise<void>;
  onClose: () => void;
}

export function RestoreHomeDialog({ workspace, point, onConfirm, onClose }: RestoreProps) {
  return (
    <Confirm
      title="Restore the whole home?"
      text={
        <>
          Everything in the home of <strong>{workspace.name}</strong> becomes as it was on{" "}
          <strong>{wholeInstant(point.at)}</strong>. What it is now is kept as a snapshot first, so that it
          can be undone.
        </>
      }
      action="Restore the home"
      typed={workspace.name}
      onConfirm={onConfirm}
      onClose={onClose}
    />
  );
}
