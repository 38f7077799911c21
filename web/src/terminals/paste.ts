// Whether text may be pasted into a terminal without a question: lines may run as commands, and control
// characters act as keys. Pure.
import type { PasteWarning } from "../ui/preferences";

// eslint-disable-next-line no-control-regex
const CONTROLS = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]/g;

export interface PasteRisk {
  /** 1: the text is part of a line, or one with its end. */
  lines: number;
  hasControls: boolean;
}

/** What a user should know before the text is pasted. */
export function pasteRisk(text: string): PasteRisk {
  // A command that was copied with the end of its line is one line.
  const lines = text
    .replace(/\r\n?/g, "\n")
    .replace(/\n[ \t]*$/, "")
    .split("\n").length;
  return { lines, hasControls: text.search(CONTROLS) >= 0 };
}

/**
 * Whether to ask first. `isBracketed`: the program takes pasted lines as one text, and runs none of them.
 * Control characters can end that text, so they are asked about anyway.
 */
export function asksBeforePaste(risk: PasteRisk, warning: PasteWarning, isBracketed: boolean): boolean {
  if (warning === "never") return false;
  return risk.hasControls || (risk.lines > 1 && (warning === "always" || !isBracketed));
}

export function withoutControls(text: string): string {
  return text.replace(CONTROLS, "");
}

/** The lines behind each other, as one command. */
export function asOneLine(text: string): string {
  const lines = withoutControls(text).split(/\r\n?|\n/);
  return lines
    .map((line) => line.trim())
    .filter(Boolean)
    .join(" ");
}

/** Characters of the text that a question shows. */
const MAX_SHOWN = 4_000;

/** The text as it is shown: control characters as signs. */
export function shownText(text: string): string {
  const cut = text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
  return cut.replace(/\r\n?/g, "\n").replace(CONTROLS, (character) => {
    const code = character.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return code === 0x7f ? "\u2421" : "\ufffd";
  });
}
