// The events of a response that is a stream of server-sent events.

/** Yields the events of the pieces of such a stream. A last event that is incomplete is left out. */
export async function* serverEvents<Event>(pieces: AsyncIterable<string>): AsyncGenerator<Event> {
  let buffer = "";
  for await (const piece of pieces) {
    buffer += piece;
    let start = 0;
    for (let end = buffer.indexOf("\n\n"); end >= 0; end = buffer.indexOf("\n\n", start)) {
      const lines = buffer.slice(start, end).split("\n");
      start = end + 2;
      const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
      if (data.length > 0) yield JSON.parse(data.join("\n")) as Event;
    }
    buffer = buffer.slice(start);
  }
}

/** The text of a response's body, piece by piece. */
export async function* textOf(response: Response): AsyncGenerator<string> {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } finally {
    // A caller that stops early ends the request.
    void reader.cancel().catch(() => undefined);
  }
}
