// The Ports view of the side bar: which ports are open, by which process, and who may see them.
import { useState } from "react";
import { Icon } from "../ui/icons";
import { MenuButton, type MenuEntry } from "../ui/menu";
import { useNow } from "../ui/time";
import { copyText } from "../ui/toasts";
import { displayName } from "../files/paths";
import { PortDialog } from "./port-dialog";
import {
  canShowPreviews,
  portRows,
  previewOrigin,
  previewPage,
  visibilityText,
  type PortRow,
} from "./ports-model";
import type { WorkspacePorts } from "./use-ports";
import "./ports.css";

/** How soon a public port that has expired is shown as private. */
const NOW_INTERVAL_MS = 30_000;

interface Props {
  workspace: string;
  ports: WorkspacePorts;
  writable: boolean;
  onOpen: (port: number) => void;
}

export function PortsView({ workspace, ports, writable, onOpen }: Props) {
  const { open, settings, failure, edit } = ports;
  const [editing, setEditing] = useState<PortRow | null>(null);
  const preview = settings?.preview ?? null;
  const isReachable = canShowPreviews(preview, window.location.hostname);
  const now = useNow(NOW_INTERVAL_MS);
  const rows = portRows(open ?? [], settings?.ports ?? [], now);
  const menuOf = (row: PortRow): MenuEntry[] => [
    ...(preview && isReachable
      ? ([
          {
            label: "Open in a tab",
            icon: "external",
            run: () => window.open(previewPage(workspace, row.port), "_blank", "noopener"),
          },
          {
            label: "Copy address",
            icon: "copy",
            run: () => void copyText(previewOrigin(preview, workspace, row.port), "Address"),
          },
        ] satisfies MenuEntry[])
      : []),
    {
      label: "Copy forward command",
      icon: "terminal",
      run: () => void copyText(`burrow forward ${workspace} ${row.port}`, "Command"),
    },
    ...(writable
      ? ([
          "line",
          { label: "Visibility and label…", icon: "eye", run: () => setEditing(row) },
        ] satisfies MenuEntry[])
      : []),
  ];
  return (
    <div className="ports-view">
      <div className="pane-head">
        <h2>Ports</h2>
      </div>
      {failure && (
        <p className="notice bad ports-notice" role="alert">
          {failure}
        </p>
      )}
      {settings !== null && !isReachable && (
        <p className="notice ports-notice">
          {preview
            ? "Previews open on the server's own computer only. Start it with --preview-host, or"
            : "This server has no addresses for previews. Start it with --preview-host, or"}{" "}
          run <code>burrow forward</code> to reach a port from your computer.
        </p>
      )}
      {open !== null && rows.length === 0 && (
        <p className="soft ports-empty">
          No program listens on a port. Start a server in a terminal, for example{" "}
          <code>python3 -m http.server 8000</code>.
        </p>
      )}
      <ul className="ports-list" aria-label="Ports">
        {rows.map((row) => (
          <li key={row.port} className="port-row" data-port={row.port}>
            <button
              className="port-open"
              disabled={!isReachable}
              title={isReachable ? `Open the preview of port ${row.port}` : "This server has no previews"}
              onClick={() => onOpen(row.port)}
            >
              <span className={row.isOpen ? "dot good" : "dot"} />
              <span className="port-name">
                <strong>{row.port}</strong> {row.label}
                <span className="soft small port-about">
                  {row.isOpen ? displayName(row.process) || "unknown process" : "nothing listens"} ·{" "}
                  <span className={row.visibility === "public" ? "port-public" : undefined}>
                    {visibilityText(row, now)}
                  </span>
                </span>
              </span>
            </button>
            <MenuButton label={`Actions of port ${row.port}`} items={menuOf(row)}>
              <Icon name="more" />
            </MenuButton>
          </li>
        ))}
      </ul>
      {editing && <PortDialog row={editing} save={edit} onClose={() => setEditing(null)} />}
    </div>
  );
}
