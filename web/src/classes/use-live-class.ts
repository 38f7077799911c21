// One class, updated from the server's event stream, as a hook.
import { useEffect, useState } from "react";
import { listen } from "../api/event-stream";
import type { Class } from "../api/types";

export interface LiveClass {
  group: Class | null;
  gone: boolean;
  connected: boolean;
  put: (group: Class) => void;
}

export function useLiveClass(id: string): LiveClass {
  const [group, put] = useState<Class | null>(null);
  const [gone, setGone] = useState(false);
  const [connected, setConnected] = useState(false);
  useEffect(
    () =>
      listen({
        path: `/classes/${id}/events`,
        probe: `/classes/${id}`,
        handlers: { class: (data) => put(data as Class) },
        onState: setConnected,
        onGone: () => setGone(true),
      }),
    [id],
  );
  return { group, gone, put, connected };
}
