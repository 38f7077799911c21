// Thin banners about the home: what slows writing down, and that it is nearly full.
import { useState } from "react";
import { workspaces as calls } from "../api/endpoints";
import type { Workspace } from "../api/types";
import { fullnessOf, nextHomeMib, troubleOf } from "./home-status";
import { SafeUpTo } from "./safe-up-to";
import { toast, toastError } from "../ui/toasts";
import { size } from "../ui/format";

const MIB = 1024 * 1024;

interface Props {
  workspace: Workspace;
  /** Whether we are told of its changes. */
  connected: boolean;
  onChanged: (workspace: Workspace) => void;
}

export function HomeBanners({ workspace, connected, onChanged }: Props) {
  const [busy, setBusy] = useState(false);
  /** The level that the person has seen; a worse one is told again. */
  const [seen, setSeen] = useState<"fine" | "warn">("fine");
  const fullness = fullnessOf(workspace);
  const trouble = troubleOf(workspace);
  const next = nextHomeMib(workspace.resources.home_mib);
  const tell = fullness !== null && fullness.level !== "fine" && fullness.level !== seen;
  const grow = () => {
    setBusy(true);
    calls
      .grow(workspace.id, next)
      .then(
        (changed) => {
          onChanged(changed);
          toast(`The home of ${workspace.name} grows to ${size(next * MIB)}`);
        },
        (error: unknown) => toastError(error, "Growing the home"),
      )
      .finally(() => setBusy(false));
  };
  return (
    <>
      {trouble && (
        <div className="thin-banner" role="status" data-banner="store">
          <strong>{trouble.lead}</strong> {trouble.rest}{" "}
          <span className="banner-safe">
            <SafeUpTo workspace={workspace} connected={connected} />.
          </span>
        </div>
      )}
      {tell && (
        <div
          className={fullness.level === "full" ? "thin-banner bad" : "thin-banner"}
          role="status"
          data-banner="full"
        >
          <strong>The home is {fullness.percent} % full:</strong> {fullness.words}.
          {workspace.access === "write" && (
            <button className="link-button" disabled={busy} onClick={grow}>
              Grow to {size(next * MIB)}
            </button>
          )}
          {fullness.level === "warn" && (
            <button className="link-button" onClick={() => setSeen("warn")}>
              Not now
            </button>
          )}
        </div>
      )}
    </>
  );
}
