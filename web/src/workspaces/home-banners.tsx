// Banners about the home: the object store is slow or unavailable, the home is nearly full.
import { useState } from "react";
import { workspacesApi } from "../api/endpoints";
import type { Workspace } from "../api/types";
import { IdleBanner } from "./idle-banner";
import { homeUsage, nextHomeMib, homeWarning } from "./home-status";
import { SafeUpTo } from "./safe-up-to";
import { toast, toastError } from "../ui/toasts";
import { formatBytes } from "../ui/format";

const MIB = 1024 * 1024;

interface Props {
  workspace: Workspace;
  /** Whether the workspace's event stream is connected. */
  connected: boolean;
  onChanged: (workspace: Workspace) => void;
}

export function HomeBanners({ workspace, connected, onChanged }: Props) {
  const [busy, setBusy] = useState(false);
  /** The level that the user dismissed. A worse level is shown again. */
  const [dismissed, setDismissed] = useState<"fine" | "warn">("fine");
  const fullness = homeUsage(workspace);
  const trouble = homeWarning(workspace);
  const next = nextHomeMib(workspace.resources.home_mib);
  const isShown = fullness !== null && fullness.level !== "fine" && fullness.level !== dismissed;
  const grow = () => {
    setBusy(true);
    workspacesApi
      .growHome(workspace.id, next)
      .then(
        (changed) => {
          onChanged(changed);
          toast(`Growing the home of ${workspace.name} to ${formatBytes(next * MIB)}`);
        },
        (error: unknown) => toastError(error, "grow the home"),
      )
      .finally(() => setBusy(false));
  };
  return (
    <>
      <IdleBanner workspace={workspace} onChanged={onChanged} />
      {trouble && workspace.home_notice !== "idle_stop" && (
        <div className="thin-banner" role="status" data-banner="store">
          <strong>{trouble.title}</strong> {trouble.detail}{" "}
          <span className="banner-safe">
            <SafeUpTo workspace={workspace} connected={connected} />.
          </span>
        </div>
      )}
      {isShown && (
        <div
          className={fullness.level === "full" ? "thin-banner bad" : "thin-banner"}
          role="status"
          data-banner="full"
        >
          <strong>The home is {fullness.percent} % full:</strong> {fullness.text}.
          {workspace.access === "write" && (
            <button className="link-button" disabled={busy} onClick={grow}>
              Grow to {formatBytes(next * MIB)}
            </button>
          )}
          {fullness.level === "warn" && (
            <button className="link-button" onClick={() => setDismissed("warn")}>
              Dismiss
            </button>
          )}
        </div>
      )}
    </>
  );
}
