// For tests only: sockets and timers that the test controls.
import type { SocketEnvironment, RawSocket } from "./reconnecting-socket";

export class FakeSocket implements RawSocket {
  binaryType: BinaryType = "blob";
  onopen: RawSocket["onopen"] = null;
  onclose: RawSocket["onclose"] = null;
  onmessage: RawSocket["onmessage"] = null;
  sent: (string | Uint8Array)[] = [];
  closed = false;

  constructor(readonly url: string) {}

  send(data: string | Uint8Array<ArrayBuffer>): void {
    this.sent.push(data);
  }
  close(): void {
    this.closed = true;
  }
  open(): void {
    this.onopen?.();
  }
  receive(data: Uint8Array | string): void {
    this.onmessage?.({ data: typeof data === "string" ? data : data.slice().buffer });
  }
  drop(code = 1006): void {
    this.onclose?.({ code, reason: "" });
  }
}

export class FakeEnvironment implements SocketEnvironment {
  sockets: FakeSocket[] = [];
  private timers: { at: number; run: () => void }[] = [];
  private time = 0;

  open(url: string): FakeSocket {
    const socket = new FakeSocket(url);
    this.sockets.push(socket);
    return socket;
  }
  setTimer(ms: number, run: () => void): () => void {
    const timer = { at: this.time + ms, run };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((other) => other !== timer);
    };
  }
  now(): number {
    return this.time;
  }
  random(): number {
    return 1;
  }
  get lastSocket(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error("no socket was opened");
    return socket;
  }
  /** Jumps ahead. Timers that are set by those that are due start then. */
  advance(ms: number): void {
    this.time += ms;
    for (;;) {
      const due = this.timers.find((timer) => timer.at <= this.time);
      if (!due) return;
      this.timers = this.timers.filter((timer) => timer !== due);
      due.run();
    }
  }
  /** Lets time pass step by step. */
  elapse(ms: number): void {
    for (let passed = 0; passed < ms; passed += 100) this.advance(100);
  }
}
