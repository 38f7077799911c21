// A WebSocket that comes back by itself. Knows neither terminals nor documents; time and chance come from outside.
import { backoff } from "./backoff";

export type LinkState = "connecting" | "open" | "waiting" | "closed";

/** What is used of a WebSocket. */
export interface RawSocket {
  binaryType: BinaryType;
  onopen: (() => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number): void;
}

export interface Environment {
  open(url: string): RawSocket;
  /** Calls after `ms`; the answer takes it back. */
  later(ms: number, run: () => void): () => void;
  random: () => number;
}

export const browser: Environment = {
  open: (url) => new WebSocket(url) as unknown as RawSocket,
  later: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
  random: Math.random,
};

export interface LinkHandlers {
  /** Asked anew for each attempt: the query tells where to go on. */
  url(): string;
  opened?(): void;
  message(data: ArrayBuffer | string): void;
  /** The socket is gone. Answer false, and no further attempt is made. */
  lost?(code: number): boolean | void;
  state?(state: LinkState): void;
}

/** An attempt that has not succeeded by then is given up. */
const OPEN_DEADLINE_MS = 15_000;

export class Link {
  private socket: RawSocket | null = null;
  private attempt = 0;
  private cancelTimer: () => void = () => undefined;
  private current: LinkState = "connecting";

  constructor(
    private readonly handlers: LinkHandlers,
    private readonly environment: Environment = browser,
  ) {}

  get state(): LinkState {
    return this.current;
  }

  start(): void {
    this.connect();
  }

  /** Says whether it was given to an open socket. */
  send(data: string | Uint8Array<ArrayBuffer>): boolean {
    if (this.current !== "open" || !this.socket) return false;
    this.socket.send(data);
    return true;
  }

  /** Leaves the present socket, if any, and tries at once. */
  retry(): void {
    if (this.current === "closed" || this.current === "connecting") return;
    this.drop();
    this.attempt = 0;
    this.connect();
  }

  /** The peer said something that cannot be: begin again, after the usual wait. */
  restart(): void {
    if (this.current === "closed") return;
    this.drop();
    this.wait();
  }

  /** The first data after an opening proves that the peer is really there: only then is the next wait short again. */
  private proved = false;

  close(): void {
    this.cancelTimer();
    this.drop();
    this.set("closed");
  }

  private connect(): void {
    this.cancelTimer();
    this.set("connecting");
    const socket = this.environment.open(this.handlers.url());
    this.socket = socket;
    this.proved = false;
    socket.binaryType = "arraybuffer";
    this.cancelTimer = this.environment.later(OPEN_DEADLINE_MS, () => this.gone(socket, 1006));
    socket.onopen = () => {
      if (this.socket !== socket) return;
      this.cancelTimer();
      this.set("open");
      this.handlers.opened?.();
    };
    socket.onmessage = (event) => {
      if (this.socket !== socket) return;
      if (!this.proved) {
        this.proved = true;
        this.attempt = 0;
      }
      this.handlers.message(event.data as ArrayBuffer | string);
    };
    socket.onclose = (event) => this.gone(socket, event.code);
  }

  private gone(socket: RawSocket, code: number): void {
    if (this.socket !== socket) return;
    this.drop();
    if (this.handlers.lost?.(code) === false) {
      this.close();
      return;
    }
    // The handler may have closed or begun anew.
    if (this.current === "open" || this.current === "connecting") this.wait();
  }

  private wait(): void {
    this.attempt += 1;
    this.set("waiting");
    this.cancelTimer = this.environment.later(backoff(this.attempt, this.environment.random), () =>
      this.connect(),
    );
  }

  private drop(): void {
    this.cancelTimer();
    const socket = this.socket;
    this.socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  private set(state: LinkState): void {
    if (state === this.current) return;
    this.current = state;
    this.handlers.state?.(state);
  }
}

/** Tries the link at once when the network comes back or the page is looked at again. Answers how to stop. */
export function wakeOnReturn(link: Link): () => void {
  const wake = () => {
    if (document.visibilityState === "visible" && link.state === "waiting") link.retry();
  };
  window.addEventListener("online", wake);
  document.addEventListener("visibilitychange", wake);
  return () => {
    window.removeEventListener("online", wake);
    document.removeEventListener("visibilitychange", wake);
  };
}
