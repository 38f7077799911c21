// One viewer of a terminal: which output it has, which it has drawn, which input the shell has taken. The bookkeeping that
// makes a reconnect invisible. Knows no screen: what is to be drawn goes to a Screen.
import type { Exit, Size } from "../api/agent";
import { decode, encode } from "./terminal-frames";
import { browser, Link, type Environment, type LinkState } from "./reconnecting-socket";

/** What shows the output. */
export interface Screen {
  /** `drawn` is called once the bytes are on the screen: this is what is acknowledged, so a slow screen slows the sender. */
  write(bytes: Uint8Array, drawn: () => void): void;
  /** Like `write`, on a terminal reset before. */
  redraw(bytes: Uint8Array, drawn: () => void): void;
  /** The terminal has this size now. */
  resized(size: Size): void;
  exited(exit: Exit): void;
  state(state: LinkState): void;
  /** The peer refused several times in a row: it may be gone for good. */
  lost?(): void;
}

export interface StreamOptions {
  client: string;
  url(query: Record<string, string>): string;
  readOnly: boolean;
}

/** An acknowledgement at least for every so many bytes: an eighth of the sender's window… */
const ACKNOWLEDGE_BYTES = 8 * 1024;
/** …and for fewer after so long, so that typing does not cost a message in either direction for each key. */
const ACKNOWLEDGE_MS = 60;
/** Input goes in pieces that are well below the largest message. */
const INPUT_PIECE_BYTES = 16 * 1024;
/** More than this is not typed ahead. */
export const MAX_INPUT_WAITING = 4 * 1024 * 1024;

export class TerminalStream {
  /** Output received: the number of the next byte. None before the first screen. */
  private have: number | null = null;
  private drawn = 0;
  private acknowledged = 0;
  private cancelAcknowledge: (() => void) | null = null;
  /** Number of the first byte in `waiting`. */
  private typed = 0;
  /** Input that the agent has not confirmed. */
  private waiting: Uint8Array[] = [];
  private waitingBytes = 0;
  private greeted = false;
  private over = false;
  private size: Size | null = null;
  /** A size that could not be sent: the connection was being made, for another one. */
  private unsent: Size | null = null;
  private readonly link: Link;

  constructor(
    private readonly options: StreamOptions,
    private readonly screen: Screen,
    private readonly environment: Environment = browser,
  ) {
    this.link = new Link(
      {
        url: () => this.options.url(this.query()),
        opened: () => {
          this.greeted = false;
        },
        message: (data) => this.receive(data),
        lost: () => {
          this.screen.lost?.();
          return !this.over;
        },
        state: (state) => this.screen.state(state),
      },
      environment,
    );
  }

  start(size: Size | null): void {
    this.size = size;
    this.link.start();
  }

  retry(): void {
    this.link.retry();
  }

  get socket(): Link {
    return this.link;
  }

  close(): void {
    this.cancelAcknowledge?.();
    this.link.close();
  }

  /** Types. Answers false where it could not: while there is no connection keys are not collected, for nobody sees what they do. */
  type(bytes: Uint8Array): boolean {
    if (this.options.readOnly || this.over || !this.greeted || this.link.state !== "open") return false;
    if (this.waitingBytes + bytes.length > MAX_INPUT_WAITING) return false;
    for (let at = 0; at < bytes.length; at += INPUT_PIECE_BYTES) {
      const piece = bytes.slice(at, at + INPUT_PIECE_BYTES);
      const offset = this.typed + this.waitingBytes;
      this.waiting.push(piece);
      this.waitingBytes += piece.length;
      this.link.send(encode({ kind: "input", offset, bytes: piece }));
    }
    return true;
  }

  resize(size: Size): void {
    if (this.options.readOnly) return;
    if (this.size && this.size.cols === size.cols && this.size.rows === size.rows) return;
    this.size = size;
    this.unsent = this.link.send(encode({ kind: "resize", size })) ? null : size;
  }

  private query(): Record<string, string> {
    const query: Record<string, string> = { client: this.options.client };
    if (this.have !== null) query["from"] = String(this.have);
    if (this.size && !this.options.readOnly) {
      query["cols"] = String(this.size.cols);
      query["rows"] = String(this.size.rows);
    }
    return query;
  }

  private receive(data: ArrayBuffer | string): void {
    if (typeof data === "string") return this.link.restart();
    let frame;
    try {
      frame = decode(data);
    } catch {
      return this.link.restart();
    }
    switch (frame.kind) {
      case "info":
        this.size = frame.info.size;
        this.screen.resized(frame.info.size);
        if (this.unsent) this.resize(this.unsent);
        if (this.greeted) this.accept(frame.info.input);
        else this.resume(frame.info.input);
        return;
      case "output":
        return this.output(frame.offset, frame.bytes);
      case "snapshot": {
        const end = frame.offset;
        this.have = end;
        return this.screen.redraw(frame.screen, () => this.hasDrawn(end));
      }
      case "input-accepted":
        return this.accept(frame.offset);
      case "exited":
        this.over = true;
        return this.screen.exited(frame.exit);
    }
  }

  private output(offset: number, bytes: Uint8Array): void {
    const have = this.have ?? offset;
    const end = offset + bytes.length;
    if (offset > have) return this.link.restart(); // bytes are missing: ask for them
    if (end <= have) return;
    this.have = end;
    this.screen.write(bytes.subarray(have - offset), () => this.hasDrawn(end));
  }

  private hasDrawn(end: number): void {
    this.drawn = Math.max(this.drawn, end);
    if (this.drawn - this.acknowledged >= ACKNOWLEDGE_BYTES) return this.acknowledge();
    this.cancelAcknowledge ??= this.environment.later(ACKNOWLEDGE_MS, () => this.acknowledge());
  }

  private acknowledge(): void {
    this.cancelAcknowledge?.();
    this.cancelAcknowledge = null;
    if (this.link.send(encode({ kind: "acknowledge", offset: this.drawn }))) this.acknowledged = this.drawn;
  }

  /** The first word on a new connection: what the shell already has is forgotten, the rest is sent again. */
  private resume(input: number): void {
    this.greeted = true;
    // What was drawn but never acknowledged on the old connection counts from the start on the new one.
    this.acknowledged = Math.min(this.acknowledged, this.drawn);
    const end = this.typed + this.waitingBytes;
    if (input >= this.typed && input <= end) this.accept(input);
    else this.typed = input; // the agent knows this client no longer: go on by its numbers
    let offset = this.typed;
    for (const piece of this.waiting) {
      this.link.send(encode({ kind: "input", offset, bytes: piece }));
      offset += piece.length;
    }
  }

  private accept(offset: number): void {
    while (this.waiting.length > 0 && this.typed < offset) {
      const first = this.waiting[0] as Uint8Array;
      const taken = Math.min(offset - this.typed, first.length);
      if (taken === first.length) this.waiting.shift();
      else this.waiting[0] = first.slice(taken);
      this.typed += taken;
      this.waitingBytes -= taken;
    }
  }
}
