// Loads a document server with one writer and some readers, all speaking the protocol of y-websocket, and
// prints what was measured as JSON. Usage: ADDRESS READERS EDITS SPACING_US
//
// The writer types letters: as fast as its socket takes them, or one per SPACING_US. A reader decodes what
// it gets, and is done when it has all letters. BURROW_TOKEN signs the clients in.
import WebSocket from "ws";
import * as Y from "yjs";

const [address, readers, edits, spacing] = process.argv.slice(2).map((word, i) => (i ? Number(word) : word));
const token = process.env.BURROW_TOKEN;
const options = token ? { headers: { authorization: `Bearer ${token}` } } : {};
/** How messages begin: with a state vector, with all that is missing, and with an update. */
const SYNC_STEP_1 = [0, 0];

/** The writer's messages, made before the time is taken: one letter each. */
function typeLetters() {
  const doc = new Y.Doc();
  const text = doc.getText("content");
  const messages = [];
  doc.on("update", (update) => messages.push(Buffer.from([0, 2, update.length, ...update])));
  for (let at = 0; at < edits; at += 1) text.insert(at, "x");
  return { client: doc.clientID, messages };
}

function connect() {
  const socket = new WebSocket(address, options);
  socket.binaryType = "nodebuffer";
  return new Promise((resolve, reject) => {
    socket.once("open", () => resolve(socket));
    socket.once("error", reject);
  });
}

/** How many of the writer's letters a message brings a reader to. */
function lettersIn(message, client) {
  if (message[0] !== 0 || message[1] === 0) return 0;
  let at = 2;
  while (message[at++] > 127);
  const { structs } = Y.decodeUpdate(message.subarray(at));
  return Math.max(
    0,
    ...structs.filter(({ id }) => id.client === client).map(({ id, length }) => id.clock + length),
  );
}

const { client, messages } = typeLetters();
const sentAt = [];
const delays = [];
const done = [];
for (let number = 0; number < readers; number += 1) {
  const socket = await connect();
  let letters = 0;
  done.push(
    new Promise((resolve) => {
      socket.on("message", (message) => {
        const now = performance.now();
        const known = letters;
        letters = Math.max(letters, lettersIn(message, client));
        if (spacing > 0) for (let at = known; at < letters; at += 1) delays.push((now - sentAt[at]) * 1000);
        if (letters === edits) resolve();
      });
    }),
  );
  socket.send(Buffer.from([...SYNC_STEP_1, 1, 0]));
}
const writer = await connect();
writer.on("message", () => undefined);

const begin = performance.now();
for (const message of messages) {
  sentAt.push(performance.now());
  writer.send(message);
  if (spacing > 0) await new Promise((resolve) => setTimeout(resolve, spacing / 1000));
}
await Promise.all(done);
delays.sort((a, b) => a - b);
const quantile = (at) => delays[Math.round((delays.length - 1) * at)] ?? 0;
console.log(
  JSON.stringify({
    seconds: (performance.now() - begin) / 1000,
    p50_us: quantile(0.5),
    p99_us: quantile(0.99),
  }),
);
process.exit(0);
