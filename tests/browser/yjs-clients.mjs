// Stock y-websocket clients on one file: no text frames, edits and presence reach each other, a
// client's own presence is echoed, and a replica of an earlier instance of the document is refused for
// good. Prints a line after each step; the test that starts this restarts the agent when it reads
// "restart", and answers with a line.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createInterface } from "node:readline";
import WebSocket from "ws";
import { WebsocketProvider } from "y-websocket";
import * as Y from "yjs";

const [server, path] = process.argv.slice(2);
const input = createInterface({ input: process.stdin });
const MESSAGE_AWARENESS = 1;

function connect(extra = {}) {
  const doc = new Y.Doc();
  const frames = { text: 0, awareness: 0 };
  /** Counts what arrives, and leaves the rest to the provider. */
  class CountingSocket extends WebSocket {
    constructor(...options) {
      super(...options);
      this.on("message", (data, isBinary) => {
        if (!isBinary) frames.text += 1;
        else if (new Uint8Array(data)[0] === MESSAGE_AWARENESS) frames.awareness += 1;
      });
    }
  }
  const provider = new WebsocketProvider(server, "documents", doc, {
    WebSocketPolyfill: CountingSocket,
    disableBc: true,
    params: { path, ...extra },
  });
  return { doc, provider, frames, text: doc.getText("content") };
}

/** Waits until `isDone` holds, looking after each change of a client. */
async function until(client, isDone) {
  while (!isDone()) {
    await new Promise((resolve) => {
      client.doc.once("update", resolve);
      client.provider.awareness.once("update", resolve);
      client.provider.ws?.once("message", () => setImmediate(resolve));
      client.provider.once("sync", resolve);
    });
  }
}

const first = connect();
const second = connect();
await until(first, () => first.provider.synced && first.text.toString() === "text\n");
await until(second, () => second.provider.synced && second.text.toString() === "text\n");
console.log("synchronized");

first.text.insert(0, "one ");
second.text.insert(second.text.length, "two\n");
for (const client of [first, second]) {
  await until(client, () => client.text.toString() === "one text\ntwo\n");
}
console.log("edited");

const before = first.frames.awareness;
first.provider.awareness.setLocalState({ user: "Ada" });
await until(second, () => second.provider.awareness.getStates().get(first.doc.clientID)?.user === "Ada");
await until(first, () => first.frames.awareness > before);
assert.deepEqual([first.frames.text, second.frames.text], [0, 0]);
console.log("echoed");

const closed = [first, second].map((client) => once(client.provider, "closed"));
console.log("restart");
await once(input, "line");
for (const [event] of await Promise.all(closed)) assert.equal(event.code, 4409);
const third = connect();
await until(third, () => third.provider.synced && third.text.length > 0);
assert.equal(third.text.toString(), "one text\ntwo\n");
console.log("refused");
process.exit(0);
