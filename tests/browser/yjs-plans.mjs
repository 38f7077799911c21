// One replica of Yjs that a test directs: one command per line of standard input, one answer per line of
// standard output, both as JSON. Bytes are lists of numbers.
import { createInterface } from "node:readline";
import * as Y from "yjs";

let doc = new Y.Doc();
const text = () => doc.getText("content");

const commands = {
  /** Begins with an empty replica. */
  begin() {
    doc.destroy();
    doc = new Y.Doc();
  },
  text: () => text().toString(),
  /** Deletes and inserts in one step. Returns the update. */
  edit({ at, delete: count, insert }) {
    let update = null;
    doc.once("update", (made) => (update = made));
    doc.transact(() => {
      if (count > 0) text().delete(at, count);
      if (insert) text().insert(at, insert);
    });
    return [...update];
  },
  apply: ({ update }) => Y.applyUpdate(doc, Uint8Array.from(update)),
  state: () => [...Y.encodeStateVector(doc)],
  missing: ({ state }) => [...Y.encodeStateAsUpdate(doc, Uint8Array.from(state))],
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  console.log(JSON.stringify(commands[command.do](command) ?? null));
}
