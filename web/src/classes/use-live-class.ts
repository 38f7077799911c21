// One class, updated from the server's event stream, as a hook.
import { useEffect, useState } from "react";
import { subscribeToEvents } from "../api/event-stream";
import type { Class } from "../api/types";

export interface LiveClass {
  group: Class | null;
  isMissing: boolean;
  connected: boolean;
  update: (group: Class) => void;
}

export function useLiveClass(id: string): LiveClass {
  const [group, update] = useState<Class | null>(null);
  const [isMissing, setGone] = useState(false);
  const [connected, setConnected] = useState(false);
  useEffect(
    () =>
      subscribeToEvents({
        path: `/classes/${id}/events`,
        probe: `/classes/${id}`,
        handlers: { class: (data) => update(data as Class) },
        onState: setConnected,
        onNotFound: () => setGone(true),
      }),
    [id],
  );
  return { group, isMissing, update, connected };
}
