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
  /** The terminal now has this size. */
  onResize(size: Size): void;
  onExit(exit: Exit): void;
  onState(state: ConnectionState): void;
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
  /** Input that the agent has not confirmed yet. */
  private pendingInput: Uint8Array[] = [];
  private pendingBytes = 0;
  private isAttached = false;
  private hasExited = false;
  private size: Size | null = null;
  /** A size that could not be sent because the connection was still opening with an older one. */
  private pendingSize: Size | null = null;
  private readonly socket: ReconnectingSocket;

  constructor(
    private readonly options: StreamOptions,
    private readonly screen: TerminalScreen,
    private readonly environment: SocketEnvironment = browserEnvironment,
  ) {
    this.socket = new ReconnectingSocket(
      {
        url: () => this.options.url(this.query()),
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
      this.pendingInput.push(piece);
      this.pendingBytes += piece.length;
      this.socket.send(encodeClientFrame({ kind: "input", offset, bytes: piece }));
    }
    return true;
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
    // The new connection counts from the last acknowledged byte.
    this.acknowledgedEnd = Math.min(this.acknowledgedEnd, this.drawnEnd);
    const end = this.pendingStart + this.pendingBytes;
    if (input >= this.pendingStart && input <= end) this.confirmInput(input);
    else this.pendingStart = input; // the agent no longer knows this client: continue with its offset
    let offset = this.pendingStart;
    for (const piece of this.pendingInput) {
      this.socket.send(encodeClientFrame({ kind: "input", offset, bytes: piece }));
      offset += piece.length;
    }
  }

  private confirmInput(offset: number): void {
    while (this.pendingInput.length > 0 && this.pendingStart < offset) {
      const first = this.pendingInput[0] as Uint8Array;
      const taken = Math.min(offset - this.pendingStart, first.length);
      if (taken === first.length) this.pendingInput.shift();
      else this.pendingInput[0] = first.slice(taken);
      this.pendingStart += taken;
      this.pendingBytes -= taken;
    }
  }
}
