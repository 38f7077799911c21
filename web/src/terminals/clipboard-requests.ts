// Requests of programs for the user's clipboard (OSC 52). A program may offer text to copy; it never
// reads the clipboard, because the answer would be typed into the terminal. Pure.

/** Longest text that is copied. */
const MAX_COPIED_BYTES = 1024 * 1024;

/** What an OSC 52 sequence asks for. Null: nothing that is done. */
export function copiedText(sequence: string): string | null {
  const at = sequence.indexOf(";");
  if (at < 0) return null;
  const payload = sequence.slice(at + 1);
  // "?" reads the clipboard; an empty text would clear it.
  if (payload === "" || payload.startsWith("?") || payload.length > (MAX_COPIED_BYTES * 4) / 3) return null;
  try {
    const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}
