// Text of a terminal's lines, and where its characters are: some take two columns, and long lines take
// several rows.
import type { IBuffer } from "@xterm/xterm";

export interface Paragraph {
  text: string;
  /** Column and row of a character, both from 1, as links have them. */
  place: (index: number) => { x: number; y: number };
}

/** The line that has the row, with the rows that it was wrapped into. Null: it is longer than `max`. */
export function readParagraph(buffer: IBuffer, row: number, max: number): Paragraph | null {
  let first = row;
  while (first > 0 && buffer.getLine(first)?.isWrapped) first--;
  const places: { x: number; y: number }[] = [];
  let text = "";
  for (let y = first; y === first || buffer.getLine(y)?.isWrapped; y++) {
    const line = buffer.getLine(y);
    if (!line) return null;
    for (let x = 0; x < line.length; x++) {
      const cell = line.getCell(x);
      if (!cell || cell.getWidth() === 0) continue;
      const characters = cell.getChars() || " ";
      for (let at = 0; at < characters.length; at++) places.push({ x: x + 1, y: y + 1 });
      text += characters;
    }
    if (text.length > max) {
      // What counts is the text, not the blanks behind it.
      text = text.trimEnd();
      if (text.length > max) return null;
    }
  }
  return { text: text.trimEnd(), place: (index) => places[index] ?? { x: 1, y: row + 1 } };
}
