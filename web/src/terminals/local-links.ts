// Links to servers of the workspace that programs print without a scheme, such as "localhost:3000". The
// add-on for links finds those with one.
import type { IBufferLine, ILink, ILinkProvider, Terminal } from "@xterm/xterm";

const ADDRESS =
  /(?<![\w.:/@-])(?:localhost|127\.0\.0\.1|0\.0\.0\.0):\d{2,5}(?![\d:])(?:\/[^\s"'<>()[\]{}]*)?/g;

export interface FoundAddress {
  text: string;
  /** Index of the first character. */
  start: number;
}

/** The addresses in a line of text. */
export function findLocalAddresses(line: string): FoundAddress[] {
  return [...line.matchAll(ADDRESS)].map((match) => ({
    text: match[0].replace(/[.,;:!?]+$/, ""),
    start: match.index,
  }));
}

/** The text of a line, and the column of each of its characters: some take two columns. */
function readLine(line: IBufferLine): { text: string; columns: number[] } {
  const columns: number[] = [];
  let text = "";
  for (let column = 0; column < line.length; column++) {
    const cell = line.getCell(column);
    if (!cell || cell.getWidth() === 0) continue;
    const characters = cell.getChars() || " ";
    for (let at = 0; at < characters.length; at++) columns.push(column);
    text += characters;
  }
  return { text, columns };
}

export function localLinks(terminal: Terminal, open: (url: string) => void): ILinkProvider {
  return {
    provideLinks(y, callback) {
      const line = terminal.buffer.active.getLine(y - 1);
      if (!line) return callback(undefined);
      const { text, columns } = readLine(line);
      const links = findLocalAddresses(text).map(({ text, start }): ILink => {
        const column = (index: number) => (columns[index] ?? 0) + 1;
        return {
          text,
          range: { start: { x: column(start), y }, end: { x: column(start + text.length - 1), y } },
          activate: () => open(`http://${text}`),
        };
      });
      callback(links);
    },
  };
}
