// Stock y-websocket clients on one file, which a test directs: one command per line of standard input,
// one answer per line of standard output, both as JSON.
//
// BURROW_TOKEN: signs the clients in.
import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import WebSocket from "ws";
import { WebsocketProvider } from "y-websocket";
import * as Y from "yjs";

const [server, path, count] = process.argv.slice(2);
/** The close code for a replica of an earlier instance of the document. */
const STALE = 4409;
/** Longest pause before a client connects again, so that a test need not wait for it. */
const MAX_BACKOFF_MS = 500;

class SignedInSocket extends WebSocket {
  constructor(address, protocols) {
    super(address, protocols, { headers: { authorization: `Bearer ${process.env.BURROW_TOKEN}` } });
  }
}

function open() {
  const doc = new Y.Doc();
  const provider = new WebsocketProvider(server, "documents", doc, {
    WebSocketPolyfill: SignedInSocket,
    disableBc: true,
    maxBackoffTime: MAX_BACKOFF_MS,
    params: { path },
  });
  const client = { doc, provider, text: doc.getText("content"), closeCode: null };
  provider.on("closed", ({ code }) => (client.closeCode = code));
  return client;
}

const clients = Array.from({ length: Number(count) }, open);

/** Waits until `isDone` holds, looking after each change of a connection. */
async function until({ provider }, isDone) {
  while (!isDone()) {
    await new Promise((resolve) => {
      provider.once("sync", resolve);
      provider.once("status", resolve);
      provider.once("closed", resolve);
    });
  }
}

/** Replaces a client whose replica is refused, as an application has to. Returns its close code. */
async function reopen(client, index) {
  client.provider.connect();
  await until(client, () => client.closeCode !== null || client.provider.synced);
  const { closeCode } = client;
  if (closeCode !== null) {
    assert.equal(closeCode, STALE);
    client.provider.destroy();
    clients[index] = open();
  }
  await until(clients[index], () => clients[index].provider.synced);
  return closeCode;
}

const commands = {
  /** Types lines, one edit each, where another line starts. */
  type({ client, at, lines }) {
    const { text } = clients[client];
    const starts = [...text.toString().matchAll(/\n/g)].map((match) => match.index + 1);
    let position = starts[Math.floor(at * starts.length)] ?? 0;
    for (const line of lines) {
      text.insert(position, `${line}\n`);
      position += line.length + 1;
    }
  },
  /** Deletes all lines that do not begin with `keep`, in one step. */
  clear({ client, keep }) {
    const { doc, text } = clients[client];
    doc.transact(() => {
      let at = text.length;
      for (const line of text
        .toString()
        .split(/(?<=\n)/)
        .reverse()) {
        at -= line.length;
        if (!line.trimStart().startsWith(keep)) text.delete(at, line.length);
      }
    });
  },
  connect: ({ client }) => clients[client].provider.connect(),
  disconnect: ({ client }) => clients[client].provider.disconnect(),
  /** The network fails. The client connects again by itself. */
  drop: ({ client }) => clients[client].provider.ws?.terminate(),
  state() {
    const texts = clients.map(({ text }) => text.toString());
    const synced = clients.every(({ provider }) => provider.synced);
    return { synced, texts };
  },
  reopen: () => Promise.all(clients.map(reopen)),
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  console.log(JSON.stringify((await commands[command.do](command)) ?? null));
}
process.exit(0);
