import { describe, expect, it } from "vitest";
import { serverEvents } from "./server-events";

async function parsed(pieces: string[]): Promise<unknown[]> {
  const events = [];
  const source = (async function* () {
    for (const piece of pieces) yield await Promise.resolve(piece);
  })();
  for await (const event of serverEvents(source)) events.push(event);
  return events;
}

describe("server-sent events", () => {
  it("are parsed across pieces, without comments", async () => {
    const pieces = [
      ':\n\ndata: {"type":"comp',
      'aring","entries":3}\n',
      '\ndata:{"type":"comparing","entries":4}\n\ndata: {',
    ];
    expect(await parsed(pieces)).toEqual([
      { type: "comparing", entries: 3 },
      { type: "comparing", entries: 4 },
    ]);
  });
});
