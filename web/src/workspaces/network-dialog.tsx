// Where a workspace may connect, what was refused, and one action: allow a name. Users who may not
// allow it are told whom to ask.
import { useEffect, useState } from "react";
import { networkApi } from "../api/endpoints";
import type { RefusedName, Workspace, WorkspaceNetwork } from "../api/types";
import { Dialog } from "../ui/dialog";
import { Failure } from "../ui/failure";
import { formatBytes } from "../ui/format";
import { RelativeTime } from "../ui/time";
import { toast } from "../ui/toasts";
import { policyText, refusalText } from "./network-text";

interface Props {
  workspace: Workspace;
  onClose: () => void;
}

export function NetworkDialog({ workspace, onClose }: Props) {
  const [network, setNetwork] = useState<WorkspaceNetwork | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const { id, revision } = workspace;
  // A report of a refused name changes the workspace's revision.
  useEffect(() => {
    let isCurrent = true;
    networkApi.get(id).then(
      (found) => isCurrent && setNetwork(found),
      (failure: unknown) => isCurrent && setError(failure),
    );
    return () => {
      isCurrent = false;
    };
  }, [id, revision]);
  const allow = (name: string) => {
    setBusy(true);
    setError(null);
    networkApi
      .allow(id, [name])
      .then(
        (changed) => {
          setNetwork(changed);
          toast(`Allowed ${name}. Try again in the workspace.`);
        },
        (failure: unknown) => setError(failure),
      )
      .finally(() => setBusy(false));
  };
  return (
    <Dialog title={`Network of ${workspace.name}`} onClose={onClose}>
      <div className="form" aria-busy={network === null}>
        {network && <Policy network={network} />}
        {network && <Refused network={network} busy={busy} onAllow={allow} />}
        {error !== null && <Failure error={error} />}
      </div>
    </Dialog>
  );
}

function Policy({ network }: { network: WorkspaceNetwork }) {
  const { effective, sent_bytes: sent, received_bytes: received } = network;
  return (
    <>
      <p>{policyText(effective)}</p>
      {effective.mode === "allowlist" && effective.names.length > 0 && (
        <p className="soft small network-names">{effective.names.join(", ")}</p>
      )}
      {sent !== null && sent !== undefined && (
        <p className="soft small">
          Since the last start: {formatBytes(sent)} sent, {formatBytes(received ?? 0)} received.
        </p>
      )}
    </>
  );
}

interface RefusedProps {
  network: WorkspaceNetwork;
  busy: boolean;
  onAllow: (name: string) => void;
}

function Refused({ network, busy, onAllow }: RefusedProps) {
  if (network.refused.length === 0) return <p className="soft">Nothing was refused since the last start.</p>;
  return (
    <>
      <h3>Refused</h3>
      <ul className="refused-names">
        {network.refused.map((refused: RefusedName) => (
          <li key={refused.name}>
            <code>{refused.name}</code>{" "}
            <span className="soft small">
              {refused.count} ×, {refusalText(refused)}, <RelativeTime at={refused.last_at} />
            </span>{" "}
            {refused.reason === "not_allowed" && (
              <button
                type="button"
                className="link-button"
                disabled={busy}
                aria-label={`Allow ${refused.name}`}
                onClick={() => onAllow(refused.name)}
              >
                Allow
              </button>
            )}
          </li>
        ))}
      </ul>
    </>
  );
}
