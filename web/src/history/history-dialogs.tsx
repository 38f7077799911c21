// The dialogs of the selected snapshot: name, fork, restore, delete, verify.
import { snapshotsApi } from "../api/endpoints";
import type { Workspace } from "../api/types";
import { ConfirmDialog } from "../ui/dialog";
import { formatFullInstant } from "../ui/format";
import { toast } from "../ui/toasts";
import { ForkWorkspaceDialog } from "../workspaces/fork-workspace-dialog";
import type { HistoryDialog } from "./history-commands";
import { NameSnapshotDialog } from "./name-snapshot-dialog";
import { RestoreHomeDialog } from "./restore-home-dialog";
import type { Point } from "./timeline-model";
import type { Snapshots } from "./use-snapshots";
import { VerifyHomeDialog } from "./verify-home-dialog";

interface Props {
  dialog: Exclude<HistoryDialog, "commands">;
  workspace: Workspace;
  point: Point;
  snapshots: Snapshots;
  onRestoreHome: () => Promise<void>;
  onClose: () => void;
}

export function HistoryDialogs({ dialog, workspace, point, snapshots, onRestoreHome, onClose }: Props) {
  switch (dialog) {
    case "name":
      return (
        <NameSnapshotDialog
          workspace={workspace.id}
          point={point}
          onDone={snapshots.update}
          onClose={onClose}
        />
      );
    case "fork":
      return <ForkWorkspaceDialog workspace={workspace} snapshot={point} onClose={onClose} />;
    case "restore":
      return (
        <RestoreHomeDialog workspace={workspace} point={point} onConfirm={onRestoreHome} onClose={onClose} />
      );
    case "verify":
      return <VerifyHomeDialog workspace={workspace} onClose={onClose} />;
    case "delete":
      return (
        <ConfirmDialog
          title="Delete this snapshot?"
          text={`The snapshot of ${formatFullInstant(point.at)} is permanently deleted.`}
          action="Delete snapshot"
          onConfirm={async () => {
            await snapshotsApi.remove(workspace.id, point.id);
            snapshots.remove(point.id);
            toast("Snapshot deleted");
          }}
          onClose={onClose}
        />
      );
  }
}
