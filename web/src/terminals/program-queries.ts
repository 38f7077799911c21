// Queries of programs, such as for the cursor's position. The workspace's agent answers them, once,
// however many watch. So xterm.js must not answer too.
import type { ITheme, Terminal } from "@xterm/xterm";

/** Keeps xterm.js from answering queries. */
export function leaveQueriesToAgent(terminal: Terminal): void {
  const { parser } = terminal;
  const handled = () => true;
  for (const id of [
    { final: "c" },
    { prefix: ">", final: "c" },
    { final: "n" },
    { prefix: "?", final: "n" },
    { intermediates: "$", final: "p" },
    { prefix: "?", intermediates: "$", final: "p" },
  ]) {
    parser.registerCsiHandler(id, handled);
  }
  parser.registerDcsHandler({ intermediates: "$", final: "q" }, handled);
  for (const command of [4, 10, 11, 12]) parser.registerOscHandler(command, asksForColor);
}

/** Whether a command asks for a colour instead of setting one. */
export function asksForColor(payload: string): boolean {
  return payload.split(";").includes("?");
}

const PALETTE = [
  "black",
  "red",
  "green",
  "yellow",
  "blue",
  "magenta",
  "cyan",
  "white",
  "brightBlack",
  "brightRed",
  "brightGreen",
  "brightYellow",
  "brightBlue",
  "brightMagenta",
  "brightCyan",
  "brightWhite",
] as const;

/** A theme as the agent gets it: text, background, cursor and the palette, each red, green and blue. */
export function themeBytes(theme: ITheme): Uint8Array {
  const names = ["foreground", "background", "cursor", ...PALETTE] as const;
  const colors = names.map((name) => parseInt((theme[name] ?? "#000000").slice(1), 16));
  return Uint8Array.from(colors.flatMap((color) => [color >> 16, (color >> 8) & 0xff, color & 0xff]));
}
