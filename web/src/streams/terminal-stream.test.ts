import { beforeEach, describe, expect, it } from "vitest";
import type { Size } from "../api/agent";
import { decodeServerFrame, encodeClientFrame, MalformedFrame } from "./terminal-frames";
import { TerminalStream, type TerminalScreen } from "./terminal-stream";
import { FakeEnvironment } from "./fake-socket";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const bytes = (text: string) => new TextEncoder().encode(text);

function message(kind: number, offset: number | null, tail: Uint8Array): Uint8Array {
  const head = new Uint8Array(offset === null ? 1 : 9);
  head[0] = kind;
  if (offset !== null) new DataView(head.buffer).setBigUint64(1, BigInt(offset));
  return new Uint8Array([...head, ...tail]);
}
const output = (offset: number, what: string) => message(0, offset, bytes(what));
const snapshot = (offset: number, what: string) => message(4, offset, bytes(what));
const accepted = (offset: number) => message(3, offset, new Uint8Array());
const info = (start: number, input: number, size: Size = { cols: 80, rows: 24 }) =>
  message(1, null, bytes(JSON.stringify({ size, start, input })));

describe("frames", () => {
  it("decode the agent's messages", () => {
    const read = (message: Uint8Array) => decodeServerFrame(message.slice().buffer);
    expect(read(output(2 ** 40, "hé"))).toEqual({ kind: "output", offset: 2 ** 40, bytes: bytes("hé") });
    expect(read(snapshot(3, "x"))).toEqual({ kind: "snapshot", offset: 3, screen: bytes("x") });
    expect(read(accepted(9))).toEqual({ kind: "input-accepted", offset: 9 });
    expect(read(message(2, null, bytes('{"code":3,"signal":null}')))).toEqual({
      kind: "exited",
      exit: { code: 3, signal: null },
    });
    expect(read(info(5, 9))).toMatchObject({ kind: "info", info: { start: 5, input: 9 } });
  });

  it("reject malformed messages", () => {
    const bad = [[], [0], [3, 1], [9], [1, 123], [1], [4, 255, 255, 255, 255, 255, 255, 255, 255]];
    bad.push([...message(1, null, bytes("{}"))]);
    for (const one of bad)
      expect(() => decodeServerFrame(new Uint8Array(one).buffer)).toThrow(MalformedFrame);
  });

  it("encode for the agent", () => {
    expect([...encodeClientFrame({ kind: "input", offset: 258, bytes: bytes("ls") })]).toEqual([
      0, 0, 0, 0, 0, 0, 0, 1, 2, 108, 115,
    ]);
    expect([...encodeClientFrame({ kind: "resize", size: { cols: 300, rows: 5000 } })]).toEqual([
      1, 1, 44, 3, 232,
    ]);
    expect([...encodeClientFrame({ kind: "acknowledge", offset: 7 })]).toEqual([2, 0, 0, 0, 0, 0, 0, 0, 7]);
  });
});

describe("terminal stream", () => {
  let environment: FakeEnvironment;
  let shown: string;
  let undrawn: (() => void)[];
  let sizes: Size[];
  let held: string;

  const screen: TerminalScreen = {
    write(bytes, drawn) {
      shown += text(bytes);
      undrawn.push(drawn);
    },
    redraw(bytes, drawn) {
      shown = `[reset]${text(bytes)}`;
      undrawn.push(drawn);
    },
    onResize: (size) => sizes.push(size),
    onExit: () => undefined,
    onState: () => undefined,
    onHeldInput: (text) => {
      held = text;
    },
  };

  function stream(readOnly = false): TerminalStream {
    const stream = new TerminalStream(
      { client: "me", url: (query) => `ws://x/?${new URLSearchParams(query).toString()}`, readOnly },
      screen,
      environment,
    );
    stream.start({ cols: 80, rows: 24 });
    environment.lastSocket.open();
    return stream;
  }
  const draw = () => undrawn.splice(0).forEach((drawn) => drawn());
  const sent = (kind: number) =>
    environment.lastSocket.sent.filter(
      (one): one is Uint8Array => one instanceof Uint8Array && one[0] === kind,
    );
  const number = (message: Uint8Array) => Number(new DataView(message.buffer).getBigUint64(1));
  const query = () => Object.fromEntries(new URL(environment.lastSocket.url).searchParams);

  beforeEach(() => {
    environment = new FakeEnvironment();
    shown = "";
    undrawn = [];
    sizes = [];
    held = "";
  });

  it("sends a size set while connecting", () => {
    const stream = new TerminalStream(
      { client: "me", url: () => "ws://x/", readOnly: false },
      screen,
      environment,
    );
    stream.start({ cols: 80, rows: 24 });
    stream.resize({ cols: 80, rows: 20 });
    environment.lastSocket.open();
    environment.lastSocket.receive(info(0, 0));
    expect(sent(1).map((one) => [...one])).toEqual([[1, 0, 80, 0, 20]]);
    environment.lastSocket.receive(info(0, 0, { cols: 80, rows: 20 }));
    expect(sizes.at(-1)).toEqual({ cols: 80, rows: 20 });
    expect(sent(1)).toHaveLength(1);
  });

  it("resumes from the last offset", () => {
    stream();
    expect(query()).toEqual({ client: "me", cols: "80", rows: "24" });
    environment.lastSocket.receive(info(100, 0));
    environment.lastSocket.receive(snapshot(100, "$ "));
    environment.lastSocket.receive(output(100, "abc"));
    environment.lastSocket.drop();
    environment.advance(60_000);
    expect(query()).toMatchObject({ from: "103" });
    environment.lastSocket.open();
    environment.lastSocket.receive(info(103, 0));
    environment.lastSocket.receive(output(103, "def"));
    expect(shown).toBe("[reset]$ abcdef");
  });

  it("skips duplicates and reconnects on a gap", () => {
    stream();
    environment.lastSocket.receive(info(0, 0));
    environment.lastSocket.receive(output(0, "abc"));
    environment.lastSocket.receive(output(1, "bcd"));
    environment.lastSocket.receive(output(0, "ab"));
    expect(shown).toBe("abcd");
    const before = environment.sockets.length;
    environment.lastSocket.receive(output(9, "z"));
    environment.advance(60_000);
    expect(environment.sockets.length).toBe(before + 1);
    expect(query()).toMatchObject({ from: "4" });
    expect(shown).toBe("abcd");
  });

  it("acknowledges drawn bytes only", () => {
    stream();
    environment.lastSocket.receive(info(0, 0));
    environment.lastSocket.receive(output(0, "x".repeat(20_000)));
    environment.advance(1000);
    expect(sent(2)).toHaveLength(0);
    draw();
    expect(sent(2).map(number)).toEqual([20_000]);
    environment.lastSocket.receive(output(20_000, "yy"));
    draw();
    expect(sent(2)).toHaveLength(1);
    environment.advance(100);
    expect(sent(2).map(number)).toEqual([20_000, 20_002]);
  });

  it("resends only unconfirmed input", () => {
    const terminal = stream();
    environment.lastSocket.receive(info(0, 0));
    terminal.sendInput(bytes("ab"));
    terminal.sendInput(bytes("cde"));
    environment.lastSocket.receive(accepted(2));
    environment.lastSocket.drop();
    environment.advance(500);
    environment.lastSocket.open();
    expect(sent(0)).toHaveLength(0); // not before the agent has reported its input offset
    environment.lastSocket.receive(info(0, 3));
    expect(sent(0).map((one) => [number(one), text(one.subarray(9))])).toEqual([[3, "de"]]);
    terminal.sendInput(bytes("f"));
    expect(number(sent(0)[1] as Uint8Array)).toBe(5);
  });

  it("notices a dead connection within 20 s and asks before it sends what was typed", () => {
    const terminal = stream();
    environment.lastSocket.receive(info(0, 0));
    environment.lastSocket.receive(output(0, "$ "));
    terminal.sendInput(bytes("rm -r x\r"));
    const dead = environment.lastSocket;
    environment.elapse(20_000);
    expect(dead.closed).toBe(true);
    expect(dead.sent.filter((one) => one instanceof Uint8Array && one[0] === 4).length).toBeGreaterThan(0);
    environment.elapse(2_000);
    environment.lastSocket.open();
    environment.lastSocket.receive(info(2, 3));
    expect(sent(0)).toHaveLength(0);
    expect(held).toBe("-r x\r"); // the agent had typed the first three bytes
    // What is typed now goes its way, with the agent's numbers.
    terminal.sendInput(bytes("ls"));
    expect(sent(0).map((one) => [number(one), text(one.subarray(9))])).toEqual([[3, "ls"]]);
    terminal.resolveHeldInput(true);
    expect(text((sent(0)[1] as Uint8Array).subarray(9))).toBe("-r x\r");
    expect(held).toBe("");
  });

  it("drops held input without a yes", () => {
    const terminal = stream();
    environment.lastSocket.receive(info(0, 0));
    terminal.sendInput(bytes("a"));
    environment.lastSocket.drop();
    environment.advance(10_000);
    environment.lastSocket.open();
    environment.lastSocket.receive(info(0, 0));
    expect(held).toBe("a");
    terminal.resolveHeldInput(false);
    expect(sent(0)).toHaveLength(0);
  });

  it("stays open while the agent answers", () => {
    stream();
    environment.lastSocket.receive(info(0, 0));
    for (let second = 0; second < 120; second += 1) {
      environment.elapse(1000);
      if (sent(4).length > 0) environment.lastSocket.sent = [];
      environment.lastSocket.receive(new Uint8Array([5]));
    }
    expect(environment.sockets).toHaveLength(1);
  });

  it("adopts the agent's offset if unknown", () => {
    const terminal = stream();
    environment.lastSocket.receive(info(0, 40));
    terminal.sendInput(bytes("a"));
    expect(number(sent(0)[0] as Uint8Array)).toBe(40);
  });

  it("drops input while disconnected", () => {
    const terminal = stream();
    expect(terminal.sendInput(bytes("a"))).toBe(false); // not attached yet
    environment.lastSocket.receive(info(0, 0));
    expect(terminal.sendInput(bytes("a"))).toBe(true);
    environment.lastSocket.drop();
    expect(terminal.sendInput(bytes("b"))).toBe(false);
  });

  it("splits a large paste and limits its size", () => {
    const terminal = stream();
    environment.lastSocket.receive(info(0, 0));
    expect(terminal.sendInput(new Uint8Array(40_000))).toBe(true);
    expect(sent(0).map((one) => [number(one), one.length - 9])).toEqual([
      [0, 16384],
      [16384, 16384],
      [32768, 7232],
    ]);
    expect(terminal.sendInput(new Uint8Array(5 * 1024 * 1024))).toBe(false);
  });

  it("only acknowledges when read-only", () => {
    const terminal = stream(true);
    environment.lastSocket.receive(info(0, 0));
    expect(query()).toEqual({ client: "me" });
    expect(terminal.sendInput(bytes("a"))).toBe(false);
    terminal.resize({ cols: 5, rows: 5 });
    environment.lastSocket.receive(output(0, "x"));
    draw();
    environment.advance(100);
    expect(environment.lastSocket.sent).toHaveLength(1);
    expect(sent(2)).toHaveLength(1);
  });

  it("does not reconnect after the exit", () => {
    stream();
    environment.lastSocket.receive(info(0, 0));
    environment.lastSocket.receive(message(2, null, bytes('{"code":0}')));
    environment.lastSocket.drop(1000);
    environment.advance(600_000);
    expect(environment.sockets).toHaveLength(1);
  });

  it("backs off between attempts", () => {
    stream();
    const opened: number[] = [];
    for (let second = 0; second < 120; second += 1) {
      if (!environment.lastSocket.closed) environment.lastSocket.drop();
      environment.advance(1000);
      opened.push(environment.sockets.length);
    }
    expect(opened.at(-1)).toBeLessThan(16);
    expect(opened.at(-1)).toBeGreaterThan(8);
  });
});
