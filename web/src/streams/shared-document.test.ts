import * as decoding from "lib0/decoding";
import * as encoding from "lib0/encoding";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readSyncMessage, writeSyncStep1, writeUpdate } from "y-protocols/sync";
import * as Y from "yjs";
import { SharedDocument } from "./shared-document";
import { FakeEnvironment, type FakeSocket } from "./fake-socket";

/** The agent's side, by Yjs itself. */
class Agent {
  doc = new Y.Doc();
  private read = new Map<FakeSocket, number>();

  constructor(text: string) {
    this.doc.getText("content").insert(0, text);
  }
  get text(): string {
    return this.doc.getText("content").toJSON();
  }
  greet(socket: FakeSocket, epoch: string, readOnly = false): void {
    socket.say(JSON.stringify({ type: "opened", epoch, read_only: readOnly }));
    this.say(socket, (encoder) => writeSyncStep1(encoder, this.doc));
    this.hear(socket);
  }
  edit(socket: FakeSocket, change: (text: Y.Text) => void): void {
    const once = (update: Uint8Array) => this.say(socket, (encoder) => writeUpdate(encoder, update));
    this.doc.once("update", once);
    change(this.doc.getText("content"));
  }
  /** Takes what the client has sent since the last time. */
  hear(socket: FakeSocket): void {
    let at = this.read.get(socket) ?? 0;
    for (; at < socket.sent.length; at += 1) {
      const message = socket.sent[at] as Uint8Array;
      const decoder = decoding.createDecoder(message);
      if (decoding.readVarUint(decoder) !== 0) continue;
      const reply = encoding.createEncoder();
      encoding.writeVarUint(reply, 0);
      readSyncMessage(decoder, reply, this.doc, "client");
      if (encoding.length(reply) > 1) socket.say(encoding.toUint8Array(reply));
    }
    this.read.set(socket, at);
  }
  private say(socket: FakeSocket, write: (encoder: encoding.Encoder) => void): void {
    const encoder = encoding.createEncoder();
    encoding.writeVarUint(encoder, 0);
    write(encoder);
    socket.say(encoding.toUint8Array(encoder));
  }
}

describe("a shared document", () => {
  let environment: FakeEnvironment;
  let shared: SharedDocument;
  const text = () => shared.view.text?.toJSON();
  const epoch = () => new URL(environment.last.url).searchParams.get("epoch");

  beforeEach(() => {
    environment = new FakeEnvironment();
    shared = new SharedDocument(
      (query) => `ws://x/?${new URLSearchParams(query).toString()}`,
      { name: "Anna", color: 1 },
      environment,
    );
    shared.start();
    environment.last.accept();
  });
  afterEach(() => shared.close());

  it("has the agent's text, and the agent has its edits", () => {
    const agent = new Agent("one\r\ntwo 😀");
    expect(text()).toBeUndefined();
    agent.greet(environment.last, "e1");
    expect(text()).toBe("one\r\ntwo 😀");
    shared.view.text?.insert(11, "!");
    agent.hear(environment.last);
    expect(agent.text).toBe(text());
    agent.edit(environment.last, (content) => content.delete(0, 5));
    expect(text()).toBe("two 😀!");
  });

  it("merges what was typed without a connection", () => {
    const agent = new Agent("abc");
    agent.greet(environment.last, "e1");
    environment.last.break();
    shared.view.text?.insert(3, "d");
    expect(shared.view.saved).toBe(false);
    agent.doc.getText("content").insert(0, "_");
    environment.pass(60_000);
    environment.last.accept();
    expect(epoch()).toBe("e1");
    agent.greet(environment.last, "e1");
    expect(text()).toBe("_abcd");
    expect(agent.text).toBe("_abcd");
    expect(shared.view.lost).toBeNull();
  });

  it("begins empty when the agent made the document anew, and keeps what had not arrived", () => {
    const first = new Agent("abc");
    first.greet(environment.last, "e1");
    environment.last.break();
    shared.view.text?.insert(3, "typed");
    environment.pass(60_000);
    environment.last.accept();
    environment.last.say(JSON.stringify({ type: "refused", reason: "stale", message: "m" }));
    environment.pass(60_000);
    expect(epoch()).toBeNull();
    environment.last.accept();
    new Agent("abc").greet(environment.last, "e2");
    expect(text()).toBe("abc");
    expect(shared.view.lost).toBe("abctyped");
    shared.forgetLost();
    expect(shared.view.lost).toBeNull();
  });

  it("loses nothing, and says nothing of it, when all had arrived", () => {
    new Agent("abc").greet(environment.last, "e1");
    environment.last.say(JSON.stringify({ type: "refused", reason: "stale", message: "m" }));
    environment.pass(60_000);
    environment.last.accept();
    new Agent("abc").greet(environment.last, "e2");
    expect(text()).toBe("abc");
    expect(shared.view.lost).toBeNull();
  });

  it("says why it is refused, and does not try by itself", () => {
    for (const reason of ["too_large", "not_text"]) {
      environment.last.say(JSON.stringify({ type: "refused", reason, message: "Too large." }));
      expect(shared.view.refused).toEqual({ reason, message: "Too large." });
      environment.pass(600_000);
      expect(environment.last.closed).toBe(true);
      shared.reopen();
      environment.last.accept();
    }
    expect(environment.sockets).toHaveLength(3);
  });

  it("gives up after a few bad updates", () => {
    for (let round = 0; round < 10; round += 1) {
      environment.last.say(JSON.stringify({ type: "refused", reason: "bad_update", message: "m" }));
      environment.pass(60_000);
      if (!environment.last.closed) environment.last.accept();
    }
    expect(environment.sockets).toHaveLength(4);
    expect(shared.view.refused?.reason).toBe("bad_update");
  });

  it("only asks where it may only read", () => {
    const agent = new Agent("abc");
    agent.greet(environment.last, "e1", true);
    expect(text()).toBe("abc");
    expect(shared.view.readOnly).toBe(true);
    const questions = environment.last.sent.map((one) => [...(one as Uint8Array).subarray(0, 2)]);
    expect(questions).toEqual([[0, 0], [3]]);
  });

  it("knows when the disk has everything", () => {
    const agent = new Agent("abc");
    agent.greet(environment.last, "e1");
    expect(shared.view.saved).toBe(true);
    shared.view.text?.insert(0, "x");
    expect(shared.view.saved).toBe(false);
    environment.last.say(JSON.stringify({ type: "dirty" }));
    environment.last.say(JSON.stringify({ type: "save_failed", message: "no space left" }));
    expect(shared.view.saveFailure).toBe("no space left");
    environment.last.say(JSON.stringify({ type: "saved", bytes: 4 }));
    expect(shared.view).toMatchObject({ saved: true, saveFailure: "" });
  });

  it("survives nonsense", () => {
    new Agent("abc").greet(environment.last, "e1");
    environment.last.say("{");
    environment.pass(60_000);
    environment.last.accept();
    environment.last.say(new Uint8Array([0, 2, 200, 1]));
    environment.pass(60_000);
    expect(text()).toBe("abc");
  });
});
