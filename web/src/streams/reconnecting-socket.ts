// A WebSocket that reconnects. Knows neither terminals nor documents. Timers and randomness are
// passed in, for tests.
import { backoffMs } from "./backoff";

export type ConnectionState = "connecting" | "open" | "waiting" | "closed";

/** The part of WebSocket that is used here. */
export interface RawSocket {
  binaryType: BinaryType;
  onopen: (() => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number): void;
}

export interface SocketEnvironment {
  open(url: string): RawSocket;
  /** Calls `run` after `ms`. Returns a function that cancels it. */
  setTimer(ms: number, run: () => void): () => void;
  random: () => number;
  /** Milliseconds of a clock that never jumps. */
  now: () => number;
}

export const browserEnvironment: SocketEnvironment = {
  open: (url) => new WebSocket(url) as unknown as RawSocket,
  setTimer: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
  random: Math.random,
  now: () => performance.now(),
};

export interface SocketHandlers {
  /** A message that the peer answers, for the heartbeat. */
  ping(): string | Uint8Array<ArrayBuffer>;
  /** Called for each attempt, because the query says where to resume. */
  url(): string;
  onOpen?(): void;
  onMessage(data: ArrayBuffer | string): void;
  /** The socket closed. Return false to stop reconnecting. */
  onClose?(code: number): boolean | void;
  onState?(state: ConnectionState): void;
}

/** How long one attempt may take to open. */
const OPEN_TIMEOUT_MS = 15_000;

/** A peer that was silent for this long is asked for a sign of life, … */
const HEARTBEAT_MS = 4_500;
/** … and after so many silent intervals the connection is dead: after 18 s at most. */
const MAX_SILENT_INTERVALS = 3;

export class ReconnectingSocket {
  private socket: RawSocket | null = null;
  private attempt = 0;
  /** Whether the peer was heard since the last heartbeat. */
  private wasHeard = false;
  private silentIntervals = 0;
  private cancelTimer: () => void = () => undefined;
  private current: ConnectionState = "connecting";

  constructor(
    private readonly handlers: SocketHandlers,
    private readonly environment: SocketEnvironment = browserEnvironment,
  ) {}

  get state(): ConnectionState {
    return this.current;
  }

  start(): void {
    this.connect();
  }

  /** Returns whether the data was handed to an open socket. */
  send(data: string | Uint8Array<ArrayBuffer>): boolean {
    if (this.current !== "open" || !this.socket) return false;
    this.socket.send(data);
    return true;
  }

  /** Drops the current socket, if any, and reconnects immediately. */
  retry(): void {
    if (this.current === "closed" || this.current === "connecting") return;
    this.discardSocket();
    this.attempt = 0;
    this.connect();
  }

  /** Drops the connection after invalid data from the peer, and reconnects after the usual delay. */
  restart(): void {
    if (this.current === "closed") return;
    this.discardSocket();
    this.scheduleReconnect();
  }

  /** Data after opening proves that the peer works. Only then does the backoff start over. */
  private hasReceivedData = false;

  close(): void {
    this.cancelTimer();
    this.discardSocket();
    this.setState("closed");
  }

  private connect(): void {
    this.cancelTimer();
    this.setState("connecting");
    const socket = this.environment.open(this.handlers.url());
    this.socket = socket;
    this.hasReceivedData = false;
    socket.binaryType = "arraybuffer";
    this.cancelTimer = this.environment.setTimer(OPEN_TIMEOUT_MS, () => this.handleClose(socket, 1006));
    socket.onopen = () => {
      if (this.socket !== socket) return;
      this.cancelTimer();
      this.setState("open");
      this.wasHeard = true;
      this.beat(socket);
      this.handlers.onOpen?.();
    };
    socket.onmessage = (event) => {
      if (this.socket !== socket) return;
      this.wasHeard = true;
      if (!this.hasReceivedData) {
        this.hasReceivedData = true;
        this.attempt = 0;
      }
      this.handlers.onMessage(event.data as ArrayBuffer | string);
    };
    socket.onclose = (event) => this.handleClose(socket, event.code);
  }

  /** A network that drops everything closes no socket, so a silent peer is asked, then disconnected. */
  private beat(socket: RawSocket): void {
    this.silentIntervals = this.wasHeard ? 0 : this.silentIntervals + 1;
    this.wasHeard = false;
    if (this.silentIntervals >= MAX_SILENT_INTERVALS) return this.handleClose(socket, 1006);
    if (this.silentIntervals > 0) this.send(this.handlers.ping());
    this.cancelTimer = this.environment.setTimer(HEARTBEAT_MS, () => this.beat(socket));
  }

  private handleClose(socket: RawSocket, code: number): void {
    if (this.socket !== socket) return;
    this.discardSocket();
    if (this.handlers.onClose?.(code) === false) {
      this.close();
      return;
    }
    // The handler may have closed the socket or reconnected already.
    if (this.current === "open" || this.current === "connecting") this.scheduleReconnect();
  }

  private scheduleReconnect(): void {
    this.attempt += 1;
    this.setState("waiting");
    this.cancelTimer = this.environment.setTimer(backoffMs(this.attempt, this.environment.random), () =>
      this.connect(),
    );
  }

  private discardSocket(): void {
    this.cancelTimer();
    const socket = this.socket;
    this.socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  private setState(state: ConnectionState): void {
    if (state === this.current) return;
    this.current = state;
    this.handlers.onState?.(state);
  }
}

/**
 * Reconnects immediately when the network or the page's visibility returns. Returns a function that
 * stops this.
 */
export function reconnectOnReturn(link: ReconnectingSocket): () => void {
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
