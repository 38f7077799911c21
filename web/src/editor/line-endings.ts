// Line endings of a shared text. They are `\n`, unless the file mixes line endings. Pure.

/** Whether lines end in more than one way. */
export function hasMixedLineEndings(text: string): boolean {
  return text.includes("\r");
}

/** Pasted text with the line endings of the text that it is pasted into. */
export function withLineEndingsOf(text: string, pasted: string): string {
  const plain = pasted.replace(/\r\n?/g, "\n");
  const returns = text.split("\r\n").length - 1;
  const lines = text.split("\n").length - 1;
  return returns > 0 && returns * 2 > lines ? plain.replace(/\n/g, "\r\n") : plain;
}

/** The carriage returns of a text, last first, each with what takes its place so that lines end with `\n`. */
export function lineEndingChanges(text: string): { at: number; insert: string }[] {
  const found = [...text.matchAll(/\r/g)].map(({ index }) => ({
    at: index,
    insert: text[index + 1] === "\n" ? "" : "\n",
  }));
  return found.reverse();
}
