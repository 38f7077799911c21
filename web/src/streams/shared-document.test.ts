import * as decoding from "lib0/decoding";
import * as encoding from "lib0/encoding";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readSyncMessage, writeSyncStep1, writeUpdate } from "y-protocols/sync";
import * as Y from "yjs";
import { SharedDocument } from "./shared-document";
import { FakeEnvironment, type FakeSocket } from "./fake-socket";
import type { UnsavedText, UnsavedTextSlot } from "./unsaved-text";

/** The agent's side, implemented with Yjs. */
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
    socket.receive(JSON.stringify({ type: "opened", epoch, read_only: readOnly }));
    this.say(socket, (encoder) => writeSyncStep1(encoder, this.doc));
    this.hear(socket);
  }
  edit(socket: FakeSocket, change: (text: Y.Text) => void): void {
    const once = (update: Uint8Array) => this.say(socket, (encoder) => writeUpdate(encoder, update));
    this.doc.once("update", once);
    change(this.doc.getText("content"));
  }
  /** Processes what the client has sent since the last call. */
  hear(socket: FakeSocket): void {
    let at = this.read.get(socket) ?? 0;
    for (; at < socket.sent.length; at += 1) {
      const message = socket.sent[at] as Uint8Array;
      const decoder = decoding.createDecoder(message);
      if (decoding.readVarUint(decoder) !== 0) continue;
      const reply = encoding.createEncoder();
      encoding.writeVarUint(reply, 0);
      readSyncMessage(decoder, reply, this.doc, "client");
      if (encoding.length(reply) > 1) socket.receive(encoding.toUint8Array(reply));
    }
    this.read.set(socket, at);
  }
  private say(socket: FakeSocket, write: (encoder: encoding.Encoder) => void): void {
    const encoder = encoding.createEncoder();
    encoding.writeVarUint(encoder, 0);
    write(encoder);
    socket.receive(encoding.toUint8Array(encoder));
  }
}

class MemorySlot implements UnsavedTextSlot {
  stored: UnsavedText | null = null;
  read(): Promise<UnsavedText | null> {
    return Promise.resolve(this.stored);
  }
  write(unsaved: UnsavedText): Promise<void> {
    this.stored = unsaved;
    return Promise.resolve();
  }
  delete(): Promise<void> {
    this.stored = null;
    return Promise.resolve();
  }
  /** Lets a read take effect. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
  }
}

describe("shared document", () => {
  let environment: FakeEnvironment;
  let shared: SharedDocument;
  const text = () => shared.state.text?.toJSON();
  const epoch = () => new URL(environment.lastSocket.url).searchParams.get("epoch");

  beforeEach(() => {
    environment = new FakeEnvironment();
    shared = new SharedDocument(
      (query) => `ws://x/?${new URLSearchParams(query).toString()}`,
      { name: "Anna", color: 1 },
      environment,
    );
    shared.start();
    environment.lastSocket.open();
  });
  afterEach(() => shared.close());

  it("exchanges edits with the agent", () => {
    const agent = new Agent("one\r\ntwo 😀");
    expect(text()).toBeUndefined();
    agent.greet(environment.lastSocket, "e1");
    expect(text()).toBe("one\r\ntwo 😀");
    shared.state.text?.insert(11, "!");
    agent.hear(environment.lastSocket);
    expect(agent.text).toBe(text());
    agent.edit(environment.lastSocket, (content) => content.delete(0, 5));
    expect(text()).toBe("two 😀!");
  });

  it("merges edits made offline", () => {
    const agent = new Agent("abc");
    agent.greet(environment.lastSocket, "e1");
    environment.lastSocket.drop();
    shared.state.text?.insert(3, "d");
    expect(shared.state.saved).toBe(false);
    agent.doc.getText("content").insert(0, "_");
    environment.advance(60_000);
    environment.lastSocket.open();
    expect(epoch()).toBe("e1");
    agent.greet(environment.lastSocket, "e1");
    expect(text()).toBe("_abcd");
    expect(agent.text).toBe("_abcd");
    expect(shared.state.unsavedText).toBeNull();
  });

  it("keeps unsent text when the agent resets", () => {
    const first = new Agent("abc");
    first.greet(environment.lastSocket, "e1");
    environment.lastSocket.drop();
    shared.state.text?.insert(3, "typed");
    environment.advance(60_000);
    environment.lastSocket.open();
    environment.lastSocket.receive(JSON.stringify({ type: "refused", reason: "stale", message: "m" }));
    environment.advance(60_000);
    expect(epoch()).toBeNull();
    environment.lastSocket.open();
    new Agent("abc").greet(environment.lastSocket, "e2");
    expect(text()).toBe("abc");
    expect(shared.state.unsavedText).toMatchObject({ base: "abc", text: "abctyped" });
    shared.dismissUnsavedText();
    expect(shared.state.unsavedText).toBeNull();
  });

  it("reports no loss when all edits had arrived", () => {
    new Agent("abc").greet(environment.lastSocket, "e1");
    environment.lastSocket.receive(JSON.stringify({ type: "refused", reason: "stale", message: "m" }));
    environment.advance(60_000);
    environment.lastSocket.open();
    new Agent("abc").greet(environment.lastSocket, "e2");
    expect(text()).toBe("abc");
    expect(shared.state.unsavedText).toBeNull();
  });

  it("reports a refusal and does not retry", () => {
    for (const reason of ["too_large", "not_text"]) {
      environment.lastSocket.receive(JSON.stringify({ type: "refused", reason, message: "Too large." }));
      expect(shared.state.refused).toEqual({ reason, message: "Too large." });
      environment.advance(600_000);
      expect(environment.lastSocket.closed).toBe(true);
      shared.reopen();
      environment.lastSocket.open();
    }
    expect(environment.sockets).toHaveLength(3);
  });

  it("gives up after a few bad updates", () => {
    for (let round = 0; round < 10; round += 1) {
      environment.lastSocket.receive(JSON.stringify({ type: "refused", reason: "bad_update", message: "m" }));
      environment.advance(60_000);
      if (!environment.lastSocket.closed) environment.lastSocket.open();
    }
    expect(environment.sockets).toHaveLength(4);
    expect(shared.state.refused?.reason).toBe("bad_update");
  });

  it("sends no edits when read-only", () => {
    const agent = new Agent("abc");
    agent.greet(environment.lastSocket, "e1", true);
    expect(text()).toBe("abc");
    expect(shared.state.readOnly).toBe(true);
    const questions = environment.lastSocket.sent.map((one) => [...(one as Uint8Array).subarray(0, 2)]);
    expect(questions).toEqual([[0, 0], [3]]);
  });

  it("tracks whether edits are saved", () => {
    const agent = new Agent("abc");
    agent.greet(environment.lastSocket, "e1");
    expect(shared.state.saved).toBe(true);
    shared.state.text?.insert(0, "x");
    expect(shared.state.saved).toBe(false);
    environment.lastSocket.receive(JSON.stringify({ type: "dirty" }));
    const failure = { type: "save_failed", message: "no space left", can_overwrite: false };
    environment.lastSocket.receive(JSON.stringify(failure));
    expect(shared.state.saveFailure).toEqual({ message: "no space left", canOverwrite: false });
    environment.lastSocket.receive(JSON.stringify({ type: "saved", bytes: 4 }));
    expect(shared.state).toMatchObject({ saved: true, saveFailure: null });
  });

  it("is not saved while an edit is on the way", () => {
    const agent = new Agent("abc");
    agent.greet(environment.lastSocket, "e1");
    shared.state.text?.insert(0, "x");
    // The answer to the agent's sync step 1, and the edit.
    const saved = (edits: number) => JSON.stringify({ type: "saved", bytes: 4, edits });
    environment.lastSocket.receive(saved(1));
    expect(shared.state.saved).toBe(false);
    environment.lastSocket.receive(saved(2));
    expect(shared.state.saved).toBe(true);
    shared.state.text?.insert(0, "y");
    environment.lastSocket.receive(saved(2));
    agent.greet(environment.lastSocket, "e1");
    environment.lastSocket.receive(JSON.stringify({ type: "refused", reason: "stale", message: "" }));
    expect(shared.state.unsavedText?.text).toBe("yxabc");
  });

  it("shows its presence to the others after a reconnect", () => {
    const agent = new Agent("abc");
    const presences = () =>
      environment.lastSocket.sent
        .filter((one) => (one as Uint8Array)[0] === 1)
        .map((one) => {
          const decoder = decoding.createDecoder((one as Uint8Array).subarray(1));
          const update = decoding.createDecoder(decoding.readVarUint8Array(decoder));
          decoding.readVarUint(update);
          return { client: decoding.readVarUint(update), clock: decoding.readVarUint(update) };
        });
    agent.greet(environment.lastSocket, "e1");
    const before = presences().at(-1);
    environment.lastSocket.drop();
    environment.advance(60_000);
    environment.lastSocket.open();
    agent.greet(environment.lastSocket, "e1");
    expect(presences().at(-1)?.client).toBe(before?.client);
    expect(presences().at(-1)?.clock).toBeGreaterThan(before?.clock ?? Infinity);
  });

  describe("unsaved text", () => {
    let slot: MemorySlot;
    const open = () => {
      const document = new SharedDocument(() => "ws://x/", { name: "Anna", color: 1 }, environment, slot);
      document.start();
      environment.lastSocket.open();
      return document;
    };
    beforeEach(() => (slot = new MemorySlot()));

    it("outlives the document, and is offered by the next", async () => {
      const first = open();
      new Agent("abc").greet(environment.lastSocket, "e1");
      await slot.settle();
      environment.lastSocket.drop();
      first.state.text?.insert(3, " typed");
      first.close();
      expect(slot.stored).toMatchObject({ base: "abc", text: "abc typed" });

      const second = open();
      new Agent("abc").greet(environment.lastSocket, "e2");
      await slot.settle();
      expect(second.state.unsavedText).toMatchObject({ base: "abc", text: "abc typed" });
      second.state.text?.insert(0, "new ");
      environment.advance(10_000);
      expect(slot.stored).toMatchObject({ text: "abc typed" });
      second.dismissUnsavedText();
      expect(slot.stored).toMatchObject({ base: "abc", text: "new abc" });
      second.close();
    });

    it("is stored while typing and deleted when it is on disk", async () => {
      const document = open();
      new Agent("abc").greet(environment.lastSocket, "e1");
      await slot.settle();
      document.state.text?.insert(3, "d");
      environment.advance(10_000);
      expect(slot.stored).toMatchObject({ base: "abc", text: "abcd" });
      environment.lastSocket.receive(JSON.stringify({ type: "saved", bytes: 4 }));
      expect(slot.stored).toBeNull();
      document.state.text?.insert(4, "e");
      environment.advance(10_000);
      expect(slot.stored).toMatchObject({ base: "abcd", text: "abcde" });
      document.close();
    });

    it("includes an edit that crossed the saved event", async () => {
      const document = open();
      new Agent("abc").greet(environment.lastSocket, "e1");
      await slot.settle();
      document.state.text?.insert(3, "d");
      environment.lastSocket.receive(JSON.stringify({ type: "saved", bytes: 3 }));
      environment.lastSocket.receive(JSON.stringify({ type: "dirty" }));
      environment.lastSocket.drop();
      document.close();
      expect(slot.stored).toMatchObject({ text: "abcd" });
    });
  });

  it("survives invalid messages", () => {
    new Agent("abc").greet(environment.lastSocket, "e1");
    environment.lastSocket.receive("{");
    environment.advance(60_000);
    environment.lastSocket.open();
    environment.lastSocket.receive(new Uint8Array([0, 2, 200, 1]));
    environment.advance(60_000);
    expect(text()).toBe("abc");
  });
});
