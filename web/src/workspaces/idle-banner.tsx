// Counts down to the stop of a workspace that nobody uses, and keeps it running on request.
import { useState } from "react";
import { workspacesApi } from "../api/endpoints";
import type { Workspace } from "../api/types";
import { useNow } from "../ui/time";
import { toast, toastError } from "../ui/toasts";
import { stopCountdown } from "./idle-text";

interface Props {
  workspace: Workspace;
  onChanged: (workspace: Workspace) => void;
}

export function IdleBanner({ workspace, onChanged }: Props) {
  const [busy, setBusy] = useState(false);
  const now = useNow(1000, workspace.phase === "running" && Boolean(workspace.idle?.stops_at));
  const countdown = stopCountdown(workspace, now);
  if (countdown === null) return null;
  const keep = () => {
    setBusy(true);
    workspacesApi
      .hold(workspace.id)
      .then(
        (held) => {
          onChanged(held);
          toast(`${workspace.name} keeps running`);
        },
        (error: unknown) => toastError(error, "keep the workspace running"),
      )
      .finally(() => setBusy(false));
  };
  return (
    <div className="thin-banner" role="status" data-banner="idle">
      <strong>Nobody uses this workspace.</strong> {/* The time is not read aloud each second. */}
      <span aria-hidden="true">It stops in {countdown}, and the home is kept.</span>
      <span className="hidden-text">It stops within minutes, and the home is kept.</span>
      {workspace.access === "write" && (
        <button className="link-button" disabled={busy} onClick={keep}>
          Keep running
        </button>
      )}
    </div>
  );
}
