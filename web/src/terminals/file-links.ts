// Paths of files in the output of programs, with the line and column that compilers, Python, grep and others
// print behind them. Pure, but for the provider of links, which asks whether the files exist.
import type { ILink, ILinkProvider, Terminal } from "@xterm/xterm";
import type { LinkGestures } from "./link-gestures";
import { readParagraph } from "./terminal-text";

export interface FileReference {
  /** As it was printed: absolute, relative, or below `~`. */
  path: string;
  /** From 1. */
  line: number;
  column: number;
  /** Where it is in the text. */
  start: number;
  end: number;
}

/** Longest text that is read for links, and most links in it. Longer lines are data, not messages. */
const MAX_TEXT = 2_000;
const MAX_REFERENCES = 20;

/** `File "a b.py", line 3`, as Python prints it. */
const PYTHON = /"([^"\n]{1,400})", line (\d{1,7})/g;
/** `a.rs:3:5`, `a.c:3`, `a.ts(3,5)` or `a.txt`. */
const PATH =
  /([^\s:"'`<>()[\]{}|;,=]{1,400})(?::(\d{1,7})(?::(\d{1,6}))?(?!\d)|\((\d{1,7})(?:,\s?(\d{1,6}))?\))?/g;

export function findFileReferences(text: string): FileReference[] {
  if (text.length > MAX_TEXT) return [];
  const found: FileReference[] = [];
  for (const match of text.matchAll(PYTHON)) {
    const [all, path = "", line] = match;
    found.push({ path, line: Number(line), column: 1, start: match.index, end: match.index + all.length });
  }
  const isTaken = (start: number) => found.some((other) => start >= other.start && start < other.end);
  for (const match of text.matchAll(PATH)) {
    const start = match.index;
    // The host of an address, which is a link of its own.
    const isAddress = text[start - 1] === ":" && match[1]?.startsWith("//") === true;
    const isFileAddress = text.slice(Math.max(0, start - 5), start) === "file:";
    if (isTaken(start) || (isAddress && !isFileAddress)) continue;
    const hasPlace = match[2] !== undefined || match[4] !== undefined;
    const printed = match[1] ?? "";
    const trimmed = hasPlace ? printed : printed.replace(/\.+$/, "");
    const path = isFileAddress ? trimmed.replace(/^\/\//, "") : trimmed;
    if (!looksLikePath(path)) continue;
    found.push({
      path,
      line: Math.max(1, Number(match[2] ?? match[4] ?? 1)),
      column: Math.max(1, Number(match[3] ?? match[5] ?? 1)),
      start,
      end: hasPlace ? start + match[0].length : start + trimmed.length,
    });
    if (found.length >= MAX_REFERENCES) break;
  }
  return found.sort((a, b) => a.start - b.start);
}

/** Words and numbers are none, unless something says that they are files. */
function looksLikePath(path: string): boolean {
  if (!/[\p{L}\p{N}]/u.test(path)) return false;
  const hasEnding = /\.\p{L}[\p{L}\p{N}_+-]{0,9}$/u.test(path);
  return hasEnding || path.includes("/") || path === "Makefile" || path === "Dockerfile";
}

/**
 * Where a printed path may be, relative to the home: in the working directory, and as Git prints both sides
 * of a change. Paths outside of the home cannot be opened.
 */
export function homePaths(path: string, directory: string, home: string): string[] {
  const below = (absolute: string): string[] => {
    const parts: string[] = [];
    for (const part of absolute.split("/")) {
      if (part === "..") parts.pop();
      else if (part !== "" && part !== ".") parts.push(part);
    }
    const whole = `/${parts.join("/")}`;
    return whole.startsWith(`${home}/`) ? [whole.slice(home.length + 1)] : [];
  };
  if (path.startsWith("~/")) return below(`${home}/${path.slice(2)}`);
  if (path.startsWith("/")) return below(path);
  const inGit = /^[ab]\/(.+)$/.exec(path)?.[1];
  return [...below(`${directory}/${path}`), ...(inGit ? below(`${directory}/${inGit}`) : [])];
}

interface Files {
  /** Directories to which paths in a line may be relative. */
  directoriesAt: (line: number) => Promise<string[]>;
  home: () => string;
  exists: (path: string) => Promise<boolean>;
  open: (path: string, line: number, column: number) => void;
}

/** Links to files of the home. Only files that exist are links. */
export function fileLinks(terminal: Terminal, gestures: LinkGestures, files: Files): ILinkProvider {
  const resolve = async ({ path }: FileReference, directories: string[]): Promise<string | null> => {
    const paths = directories.flatMap((directory) => homePaths(path, directory, files.home()));
    for (const one of new Set(paths)) if (await files.exists(one)) return one;
    return null;
  };
  return {
    provideLinks(y, callback) {
      const paragraph = readParagraph(terminal.buffer.active, y - 1, MAX_TEXT);
      const references = paragraph ? findFileReferences(paragraph.text) : [];
      if (!paragraph || references.length === 0) return callback(undefined);
      const make = async () => {
        const directories = await files.directoriesAt(y - 1);
        const links = references.map(async (reference): Promise<ILink[]> => {
          const path = await resolve(reference, directories);
          if (path === null) return [];
          return [
            {
              text: paragraph.text.slice(reference.start, reference.end),
              range: {
                start: paragraph.place(reference.start),
                end: paragraph.place(reference.end - 1),
              },
              ...gestures.handler(() => files.open(path, reference.line, reference.column)),
            },
          ];
        });
        return (await Promise.all(links)).flat();
      };
      make().then(callback, () => callback(undefined));
    },
  };
}
