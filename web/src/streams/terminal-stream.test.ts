import { beforeEach, describe, expect, it } from "vitest";
import type { Size } from "../api/agent";
import { decode, encode, MalformedFrame } from "./terminal-frames";
import { TerminalStream, type Screen } from "./terminal-stream";
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
  it("are read as the agent writes them", () => {
    const read = (message: Uint8Array) => decode(message.slice().buffer);
    expect(read(output(2 ** 40, "hé"))).toEqual({ kind: "output", offset: 2 ** 40, bytes: bytes("hé") });
    expect(read(snapshot(3, "x"))).toEqual({ kind: "snapshot", offset: 3, screen: bytes("x") });
    expect(read(accepted(9))).toEqual({ kind: "input-accepted", offset: 9 });
    expect(read(message(2, null, bytes('{"code":3,"signal":null}')))).toEqual({
      kind: "exited",
      exit: { code: 3, signal: null },
    });
    expect(read(info(5, 9))).toMatchObject({ kind: "info", info: { start: 5, input: 9 } });
  });

  it("that are malformed are refused", () => {
    const bad = [[], [0], [3, 1], [9], [1, 123], [1], [4, 255, 255, 255, 255, 255, 255, 255, 255]];
    bad.push([...message(1, null, bytes("{}"))]);
    for (const one of bad) expect(() => decode(new Uint8Array(one).buffer)).toThrow(MalformedFrame);
  });

  it("are written as the agent reads them", () => {
    expect([...encode({ kind: "input", offset: 258, bytes: bytes("ls") })]).toEqual([
      0, 0, 0, 0, 0, 0, 0, 1, 2, 108, 115,
    ]);
    expect([...encode({ kind: "resize", size: { cols: 300, rows: 5000 } })]).toEqual([1, 1, 44, 3, 232]);
    expect([...encode({ kind: "acknowledge", offset: 7 })]).toEqual([2, 0, 0, 0, 0, 0, 0, 0, 7]);
  });
});

describe("a stream", () => {
  let environment: FakeEnvironment;
  let shown: string;
  let undrawn: (() => void)[];
  let sizes: Size[];

  const screen: Screen = {
    write(bytes, drawn) {
      shown += text(bytes);
      undrawn.push(drawn);
    },
    redraw(bytes, drawn) {
      shown = `[reset]${text(bytes)}`;
      undrawn.push(drawn);
    },
    resized: (size) => sizes.push(size),
    exited: () => undefined,
    state: () => undefined,
  };

  function stream(readOnly = false): TerminalStream {
    const stream = new TerminalStream(
      { client: "me", url: (query) => `ws://x/?${new URLSearchParams(query).toString()}`, readOnly },
      screen,
      environment,
    );
    stream.start({ cols: 80, rows: 24 });
    environment.last.accept();
    return stream;
  }
  const draw = () => undrawn.splice(0).forEach((drawn) => drawn());
  const sent = (kind: number) =>
    environment.last.sent.filter((one): one is Uint8Array => one instanceof Uint8Array && one[0] === kind);
  const number = (message: Uint8Array) => Number(new DataView(message.buffer).getBigUint64(1));
  const query = () => Object.fromEntries(new URL(environment.last.url).searchParams);

  beforeEach(() => {
    environment = new FakeEnvironment();
    shown = "";
    undrawn = [];
    sizes = [];
  });

  it("does not lose a size that is wanted while it connects", () => {
    const stream = new TerminalStream(
      { client: "me", url: () => "ws://x/", readOnly: false },
      screen,
      environment,
    );
    stream.start({ cols: 80, rows: 24 });
    stream.resize({ cols: 80, rows: 20 });
    environment.last.accept();
    environment.last.say(info(0, 0));
    expect(sent(1).map((one) => [...one])).toEqual([[1, 0, 80, 0, 20]]);
    environment.last.say(info(0, 0, { cols: 80, rows: 20 }));
    expect(sizes.at(-1)).toEqual({ cols: 80, rows: 20 });
    expect(sent(1)).toHaveLength(1);
  });

  it("asks for the screen first, and after a break for what it lacks", () => {
    stream();
    expect(query()).toEqual({ client: "me", cols: "80", rows: "24" });
    environment.last.say(info(100, 0));
    environment.last.say(snapshot(100, "$ "));
    environment.last.say(output(100, "abc"));
    environment.last.break();
    environment.pass(60_000);
    expect(query()).toMatchObject({ from: "103" });
    environment.last.accept();
    environment.last.say(info(103, 0));
    environment.last.say(output(103, "def"));
    expect(shown).toBe("[reset]$ abcdef");
  });

  it("draws no byte twice and asks again where some are missing", () => {
    stream();
    environment.last.say(info(0, 0));
    environment.last.say(output(0, "abc"));
    environment.last.say(output(1, "bcd"));
    environment.last.say(output(0, "ab"));
    expect(shown).toBe("abcd");
    const before = environment.sockets.length;
    environment.last.say(output(9, "z"));
    environment.pass(60_000);
    expect(environment.sockets.length).toBe(before + 1);
    expect(query()).toMatchObject({ from: "4" });
    expect(shown).toBe("abcd");
  });

  it("acknowledges what is drawn, not what has come", () => {
    stream();
    environment.last.say(info(0, 0));
    environment.last.say(output(0, "x".repeat(20_000)));
    environment.pass(1000);
    expect(sent(2)).toHaveLength(0);
    draw();
    expect(sent(2).map(number)).toEqual([20_000]);
    environment.last.say(output(20_000, "yy"));
    draw();
    expect(sent(2)).toHaveLength(1);
    environment.pass(100);
    expect(sent(2).map(number)).toEqual([20_000, 20_002]);
  });

  it("sends again only the keys that the shell has not had", () => {
    const terminal = stream();
    environment.last.say(info(0, 0));
    terminal.type(bytes("ab"));
    terminal.type(bytes("cde"));
    environment.last.say(accepted(2));
    environment.last.break();
    environment.pass(60_000);
    environment.last.accept();
    expect(sent(0)).toHaveLength(0); // not before it is known what the shell has
    environment.last.say(info(0, 3));
    expect(sent(0).map((one) => [number(one), text(one.subarray(9))])).toEqual([[3, "de"]]);
    terminal.type(bytes("f"));
    expect(number(sent(0)[1] as Uint8Array)).toBe(5);
  });

  it("goes on by the agent's numbers when it is not known there", () => {
    const terminal = stream();
    environment.last.say(info(0, 40));
    terminal.type(bytes("a"));
    expect(number(sent(0)[0] as Uint8Array)).toBe(40);
  });

  it("takes no keys while there is no connection", () => {
    const terminal = stream();
    expect(terminal.type(bytes("a"))).toBe(false); // not greeted
    environment.last.say(info(0, 0));
    expect(terminal.type(bytes("a"))).toBe(true);
    environment.last.break();
    expect(terminal.type(bytes("b"))).toBe(false);
  });

  it("cuts a large paste, and refuses one that nobody would want", () => {
    const terminal = stream();
    environment.last.say(info(0, 0));
    expect(terminal.type(new Uint8Array(40_000))).toBe(true);
    expect(sent(0).map((one) => [number(one), one.length - 9])).toEqual([
      [0, 16384],
      [16384, 16384],
      [32768, 7232],
    ]);
    expect(terminal.type(new Uint8Array(5 * 1024 * 1024))).toBe(false);
  });

  it("sends nothing but acknowledgements where it may only read", () => {
    const terminal = stream(true);
    environment.last.say(info(0, 0));
    expect(query()).toEqual({ client: "me" });
    expect(terminal.type(bytes("a"))).toBe(false);
    terminal.resize({ cols: 5, rows: 5 });
    environment.last.say(output(0, "x"));
    draw();
    environment.pass(100);
    expect(environment.last.sent).toHaveLength(1);
    expect(sent(2)).toHaveLength(1);
  });

  it("does not come back after the end, nor on nonsense forever at once", () => {
    stream();
    environment.last.say(info(0, 0));
    environment.last.say(message(2, null, bytes('{"code":0}')));
    environment.last.break(1000);
    environment.pass(600_000);
    expect(environment.sockets).toHaveLength(1);
  });

  it("waits longer and longer", () => {
    stream();
    const opened: number[] = [];
    for (let second = 0; second < 120; second += 1) {
      if (!environment.last.closed) environment.last.break();
      environment.pass(1000);
      opened.push(environment.sockets.length);
    }
    expect(opened.at(-1)).toBeLessThan(16);
    expect(opened.at(-1)).toBeGreaterThan(8);
  });
});
