// Server-sent events that come back by themselves. EventSource gives up after an HTTP error (a restarting server's 503): so
// here it is opened anew, with our own waiting.
import { backoff } from "../streams/backoff";
import { ApiError, request } from "./client";

export type EventHandlers = Record<string, (data: unknown) => void>;

interface Listener {
  /** Where the stream is, below /api/v1. */
  path: string;
  /** What to ask when the stream breaks, because EventSource does not say why. */
  probe: string;
  handlers: EventHandlers;
  onState: (open: boolean) => void;
  /** The probe says that the thing is gone: there will be no more. */
  onGone: () => void;
}

/** Listens until the returned function is called. */
export function listen({ path, probe, handlers, onState, onGone }: Listener): () => void {
  let over = false;
  let source: EventSource | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let attempt = 0;
  const stop = () => {
    over = true;
    clearTimeout(timer);
    source?.close();
  };
  const giveUpIfGone = (error: unknown) => {
    if (over || !(error instanceof ApiError) || (error.status !== 404 && error.status !== 401)) return;
    stop();
    if (error.status === 404) onGone();
  };
  const open = () => {
    source = new EventSource(`/api/v1${path}`);
    source.onopen = () => {
      attempt = 0;
      onState(true);
    };
    source.onerror = () => {
      onState(false);
      source?.close();
      attempt += 1;
      timer = setTimeout(open, backoff(attempt));
      // A session that has ended leads to the sign-in page by itself.
      if (attempt === 1) request(probe).catch(giveUpIfGone);
    };
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => {
        try {
          handle(JSON.parse((event as MessageEvent<string>).data));
        } catch (error) {
          console.error("an event that is not JSON", error);
        }
      });
    }
  };
  open();
  return stop;
}
