// One viewer of a terminal. Keeps the offsets of output received, output drawn, and input confirmed
// by the agent, which makes a reconnect lossless. Draws nothing itself: output goes to a
// TerminalScreen.
import type { Exit, Size } from "../api/agent";
import { decodeServerFrame, encodeClientFrame } from "./terminal-frames";
import {
  browserEnvironment,
  ReconnectingSocket,
  type SocketEnvironment,
  type ConnectionState,
} from "./reconnecting-socket";

/** Draws the output. */
export interface TerminalScreen {
  /**
   * Calls `drawn` once the bytes are on the screen. Only drawn bytes are acknowledged, so a slow
   * screen slows the sender.
   */
  write(bytes: Uint8Array, drawn: () => void): void;
  /** Like `write`, after resetting the terminal. */
  redraw(bytes: Uint8Array, drawn: () => void): void;
  /** The terminal has this size for the output that follows, not for what is still being written. */
  onResize(size: Size): void;
  onExit(exit: Exit): void;
  onState(state: ConnectionState): void;
  /** Text that was typed while the connection was lost, for a question; empty after it. */
  onHeldInput(text: string): void;
  /** The connection closed or could not be opened. */
  onClose?(): void;
}

export interface StreamOptions {
  client: string;
  url(query: Record<string, string>): string;
  readOnly: boolean;
}

/** Acknowledge at least every so many bytes: an eighth of the sender's window. */
const ACKNOWLEDGE_BYTES = 8 * 1024;
/** Acknowledge fewer bytes after this delay. Without it, each echoed key would cost one more message. */
const ACKNOWLEDGE_DELAY_MS = 60;
/** Input is split into messages of this size, well below the agent's limit. */
const MAX_INPUT_MESSAGE_BYTES = 16 * 1024;
/** Unconfirmed input that is older than this at a reconnect is not sent without a yes. */
export const STALE_INPUT_MS = 3_000;
/** Limit of unconfirmed input. More is refused. */
export const MAX_PENDING_INPUT_BYTES = 4 * 1024 * 1024;

export class TerminalStream {
  /** Offset after the last byte received. Null before the first screen. */
  private receivedEnd: number | null = null;
  private drawnEnd = 0;
  private acknowledgedEnd = 0;
  private cancelAcknowledge: (() => void) | null = null;
  /** Offset of the first byte in `pendingInput`. */
  private pendingStart = 0;
  /** Input that the agent has not confirmed yet, and when it was typed. */
  private pendingInput: { bytes: Uint8Array<ArrayBuffer>; at: number }[] = [];
  /** Input of a lost connection that is sent only if the user says so. */
  private heldInput: Uint8Array<ArrayBuffer>[] = [];
  private pendingBytes = 0;
  private isAttached = false;
  private hasExited = false;
  private size: Size | null = null;
  /** A size that could not be sent because the connection was still opening with an older one. */
  private pendingSize: Size | null = null;
  /** What the agent tells a program that asks for colours. */
  private colors: Uint8Array | null = null;
  private readonly socket: ReconnectingSocket;

  constructor(
    private readonly options: StreamOptions,
    private readonly screen: TerminalScreen,
    private readonly environment: SocketEnvironment = browserEnvironment,
  ) {
    this.socket = new ReconnectingSocket(
      {
        url: () => this.options.url(this.query()),
        ping: () => encodeClientFrame({ kind: "ping" }),
        onOpen: () => {
          this.isAttached = false;
        },
        onMessage: (data) => this.receive(data),
        onClose: () => {
          this.screen.onClose?.();
          return !this.hasExited;
        },
        onState: (state) => this.screen.onState(state),
      },
      environment,
    );
  }

  start(size: Size | null): void {
    this.size = size;
    this.socket.start();
  }

  retry(): void {
    this.socket.retry();
  }

  /** Whether the program has shown anything. */
  get hasOutput(): boolean {
    return (this.receivedEnd ?? 0) > 0;
  }

  /** Whether the screen has come, after which its size changes only with the output. */
  get hasScreen(): boolean {
    return this.receivedEnd !== null;
  }

  /** Tells the agent the colours of this viewer, for programs that ask. */
  setColors(colors: Uint8Array): void {
    this.colors = colors;
    if (this.isAttached) this.sendColors();
  }

  private sendColors(): void {
    if (this.colors && !this.options.readOnly)
      this.socket.send(encodeClientFrame({ kind: "colors", colors: this.colors }));
  }

  get connection(): ReconnectingSocket {
    return this.socket;
  }

  close(): void {
    this.cancelAcknowledge?.();
    this.socket.close();
  }

  /**
   * Sends input. Returns false if it was dropped: without a connection, keys are not collected,
   * because their effect is not visible.
   */
  sendInput(bytes: Uint8Array): boolean {
    if (this.options.readOnly || this.hasExited || !this.isAttached || this.socket.state !== "open")
      return false;
    if (this.pendingBytes + bytes.length > MAX_PENDING_INPUT_BYTES) return false;
    for (let at = 0; at < bytes.length; at += MAX_INPUT_MESSAGE_BYTES) {
      const piece = bytes.slice(at, at + MAX_INPUT_MESSAGE_BYTES);
      const offset = this.pendingStart + this.pendingBytes;
      this.pendingInput.push({ bytes: piece, at: this.environment.now() });
      this.pendingBytes += piece.length;
      this.socket.send(encodeClientFrame({ kind: "input", offset, bytes: piece }));
    }
    return true;
  }

  /** Sends the input that was typed while the connection was lost, or drops it. */
  resolveHeldInput(send: boolean): void {
    const held = this.heldInput;
    this.heldInput = [];
    this.screen.onHeldInput("");
    if (send) for (const piece of held) this.sendInput(piece);
  }

  resize(size: Size): void {
    if (this.options.readOnly) return;
    if (this.size && this.size.cols === size.cols && this.size.rows === size.rows) return;
    this.size = size;
    this.pendingSize = this.socket.send(encodeClientFrame({ kind: "resize", size })) ? null : size;
  }

  private query(): Record<string, string> {
    const query: Record<string, string> = { client: this.options.client };
    if (this.receivedEnd !== null) query["from"] = String(this.receivedEnd);
    if (this.size && !this.options.readOnly) {
      query["cols"] = String(this.size.cols);
      query["rows"] = String(this.size.rows);
    }
    return query;
  }

  private receive(data: ArrayBuffer | string): void {
    if (typeof data === "string") return this.socket.restart();
    let frame;
    try {
      frame = decodeServerFrame(data);
    } catch {
      return this.socket.restart();
    }
    switch (frame.kind) {
      case "info":
        this.size = frame.info.size;
        this.screen.onResize(frame.info.size);
        if (this.pendingSize) this.resize(this.pendingSize);
        if (this.isAttached) this.confirmInput(frame.info.input);
        else this.resendInput(frame.info.input);
        return;
      case "output":
        return this.writeOutput(frame.offset, frame.bytes);
      case "snapshot": {
        const end = frame.offset;
        this.receivedEnd = end;
        return this.screen.redraw(frame.screen, () => this.recordDrawn(end));
      }
      case "pong":
        return;
      case "input-accepted":
        return this.confirmInput(frame.offset);
      case "exited":
        this.hasExited = true;
        return this.screen.onExit(frame.exit);
    }
  }

  private writeOutput(offset: number, bytes: Uint8Array): void {
    const have = this.receivedEnd ?? offset;
    const end = offset + bytes.length;
    if (offset > have) return this.socket.restart(); // bytes are missing: reconnect from the last offset
    if (end <= have) return;
    this.receivedEnd = end;
    this.screen.write(bytes.subarray(have - offset), () => this.recordDrawn(end));
  }

  private recordDrawn(end: number): void {
    this.drawnEnd = Math.max(this.drawnEnd, end);
    if (this.drawnEnd - this.acknowledgedEnd >= ACKNOWLEDGE_BYTES) return this.acknowledge();
    this.cancelAcknowledge ??= this.environment.setTimer(ACKNOWLEDGE_DELAY_MS, () => this.acknowledge());
  }

  private acknowledge(): void {
    this.cancelAcknowledge?.();
    this.cancelAcknowledge = null;
    if (this.socket.send(encodeClientFrame({ kind: "acknowledge", offset: this.drawnEnd })))
      this.acknowledgedEnd = this.drawnEnd;
  }

  /** After a reconnect: drops the input that the agent has confirmed, and sends the rest again. */
  private resendInput(input: number): void {
    this.isAttached = true;
    this.sendColors();
    // The new connection counts from the last acknowledged byte.
    this.acknowledgedEnd = Math.min(this.acknowledgedEnd, this.drawnEnd);
    const end = this.pendingStart + this.pendingBytes;
    if (input >= this.pendingStart && input <= end) this.confirmInput(input);
    else this.pendingStart = input; // the agent no longer knows this client: continue with its offset
    if (this.holdStaleInput()) return;
    let offset = this.pendingStart;
    for (const { bytes } of this.pendingInput) {
      this.socket.send(encodeClientFrame({ kind: "input", offset, bytes }));
      offset += bytes.length;
    }
  }

  /**
   * Input that was typed into a dead connection does not reach the shell later by itself: by then it may
   * do something else than intended. A short break does not matter.
   */
  private holdStaleInput(): boolean {
    const [first] = this.pendingInput;
    if (!first || this.environment.now() - first.at < STALE_INPUT_MS) return false;
    this.heldInput.push(...this.pendingInput.map(({ bytes }) => bytes));
    this.pendingInput = [];
    this.pendingBytes = 0;
    const total = this.heldInput.reduce((sum, piece) => sum + piece.length, 0);
    const text = new Uint8Array(total);
    this.heldInput.reduce((at, piece) => (text.set(piece, at), at + piece.length), 0);
    this.screen.onHeldInput(new TextDecoder().decode(text));
    return true;
  }

  private confirmInput(offset: number): void {
    while (this.pendingInput.length > 0 && this.pendingStart < offset) {
      const first = this.pendingInput[0] as { bytes: Uint8Array<ArrayBuffer>; at: number };
      const taken = Math.min(offset - this.pendingStart, first.bytes.length);
      if (taken === first.bytes.length) this.pendingInput.shift();
      else first.bytes = first.bytes.slice(taken);
      this.pendingStart += taken;
      this.pendingBytes -= taken;
    }
  }
}
