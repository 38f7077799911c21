// Links to servers of the workspace that programs print without a scheme, such as "localhost:3000". The
// add-on for links finds those with one.
import type { ILink, ILinkProvider, Terminal } from "@xterm/xterm";
import type { LinkGestures } from "./link-gestures";
import { readParagraph } from "./terminal-text";

const ADDRESS =
  /(?<![\w.:/@-])(?:localhost|127\.0\.0\.1|0\.0\.0\.0):\d{2,5}(?![\d:])(?:\/[^\s"'<>()[\]{}]*)?/g;
/** Longest text that is read for addresses. */
const MAX_TEXT = 2_000;

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

export function localLinks(
  terminal: Terminal,
  gestures: LinkGestures,
  open: (url: string) => void,
): ILinkProvider {
  return {
    provideLinks(y, callback) {
      const paragraph = readParagraph(terminal.buffer.active, y - 1, MAX_TEXT);
      if (!paragraph) return callback(undefined);
      const links = findLocalAddresses(paragraph.text).map(({ text, start }): ILink => ({
        text,
        range: { start: paragraph.place(start), end: paragraph.place(start + text.length - 1) },
        ...gestures.handler(() => open(`http://${text}`)),
      }));
      callback(links);
    },
  };
}
