// The ports of a running workspace: which are open, followed as they change, and who may see them.
import { useCallback, useEffect, useRef, useState } from "react";
import type { ListeningPort, PortList } from "../api/agent";
import { errorMessage } from "../api/client";
import { portsApi, socketUrl } from "../api/endpoints";
import type { EditPort, PortSettingsList } from "../api/types";
import { ReconnectingSocket, reconnectOnReturn } from "../streams/reconnecting-socket";
import { openedPorts } from "./ports-model";

export interface WorkspacePorts {
  /** Null until the first list has arrived. */
  open: readonly ListeningPort[] | null;
  /** Null until the settings have arrived. */
  settings: PortSettingsList | null;
  /** Why there are no settings. Empty: nothing failed. */
  failure: string;
  edit: (port: number, settings: EditPort) => Promise<void>;
}

/** `onOpened` is called for each port that a program opens while the page is shown. */
export function usePorts(workspace: string, onOpened: (port: ListeningPort) => void): WorkspacePorts {
  const [open, setOpen] = useState<readonly ListeningPort[] | null>(null);
  const [settings, setSettings] = useState<PortSettingsList | null>(null);
  const [failure, setFailure] = useState("");
  const known = useRef<readonly ListeningPort[] | null>(null);
  const announce = useRef(onOpened);
  useEffect(() => {
    announce.current = onOpened;
  });

  useEffect(() => {
    let isGone = false;
    portsApi.settings(workspace).then(
      (settings) => !isGone && setSettings(settings),
      (error: unknown) => !isGone && setFailure(errorMessage(error)),
    );
    const socket = new ReconnectingSocket({
      url: () => socketUrl(workspace, "ports/watch"),
      ping: () => "",
      onMessage: (data) => {
        if (typeof data !== "string") return;
        let ports: ListeningPort[];
        try {
          ({ ports } = JSON.parse(data) as PortList);
        } catch {
          return;
        }
        for (const port of openedPorts(known.current, ports)) announce.current(port);
        known.current = ports;
        setOpen(ports);
      },
    });
    socket.start();
    const stopWaking = reconnectOnReturn(socket);
    return () => {
      isGone = true;
      stopWaking();
      socket.close();
    };
  }, [workspace]);

  const edit = useCallback(
    async (port: number, edited: EditPort) => {
      const saved = await portsApi.set(workspace, port, edited);
      setSettings((known) => {
        if (!known) return known;
        const others = known.ports.filter((other) => other.port !== port);
        const isPlain = saved.visibility === "private" && saved.label === "";
        return { ...known, ports: isPlain ? others : [...others, saved] };
      });
    },
    [workspace],
  );
  return { open, settings, failure, edit };
}
