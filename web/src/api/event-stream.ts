// Server-sent events that reconnect. EventSource gives up after an HTTP error, such as a restarting
// server's 503, so it is opened again here, with our own backoff.
import { backoffMs } from "../streams/backoff";
import { ApiError, request } from "./client";

export type EventHandlers = Record<string, (data: unknown) => void>;

interface Subscription {
  /** Path of the stream below /api/v1. */
  path: string;
  /** Endpoint to request when the stream breaks, because EventSource does not report the reason. */
  probe: string;
  handlers: EventHandlers;
  onState: (open: boolean) => void;
  /** The probe returned 404, or 403: the user may not see it. No more events will come. */
  onNotFound: () => void;
}

/** The server sends a heartbeat every 5 s. A stream that is silent for this long is dead. */
const MAX_SILENCE_MS = 16_000;

/** Receives events until the returned function is called. */
export function subscribeToEvents({ path, probe, handlers, onState, onNotFound }: Subscription): () => void {
  let stopped = false;
  let source: EventSource | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let silence: ReturnType<typeof setTimeout> | undefined;
  let attempt = 0;
  const stop = () => {
    stopped = true;
    clearTimeout(timer);
    clearTimeout(silence);
    source?.close();
  };
  const stopIfNotFound = (error: unknown) => {
    if (stopped || !(error instanceof ApiError) || ![401, 403, 404].includes(error.status)) return;
    stop();
    if (error.status !== 401) onNotFound();
  };
  const open = () => {
    source = new EventSource(`/api/v1${path}`);
    // A network that drops everything reports no error, so silence is one.
    const hear = () => {
      clearTimeout(silence);
      silence = setTimeout(fail, MAX_SILENCE_MS);
    };
    const fail = () => {
      clearTimeout(silence);
      onState(false);
      source?.close();
      attempt += 1;
      timer = setTimeout(open, backoffMs(attempt));
      // If the session has ended, the probe's 401 leads to the sign-in page.
      if (attempt === 1) request(probe).catch(stopIfNotFound);
    };
    source.onopen = () => {
      attempt = 0;
      hear();
      onState(true);
    };
    source.onerror = fail;
    source.addEventListener("heartbeat", hear);
    hear();
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => {
        hear();
        try {
          handle(JSON.parse((event as MessageEvent<string>).data));
        } catch (error) {
          console.error("cannot parse an event", error);
        }
      });
    }
  };
  open();
  return stop;
}
