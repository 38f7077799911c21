// Conflicts in a text, as Git marks them. Pure.
import type { Text } from "@codemirror/state";

/** Offsets of the lines of one conflict. Each part ends where the next marker begins. */
export interface ConflictPlace {
  /** The line that begins with `<<<<<<<`. */
  from: number;
  oursFrom: number;
  oursTo: number;
  theirsFrom: number;
  theirsTo: number;
  /** After the line that begins with `>>>>>>>`. */
  to: number;
}

export type ConflictChoice = "ours" | "theirs" | "both";

const isMarker = (line: string, character: string) =>
  line.startsWith(character.repeat(7)) && (line.length === 7 || /[ \r]/.test(line[7] ?? ""));

/** Finds complete conflicts. One that is not marked completely is left out. */
export function findConflicts(doc: Text): ConflictPlace[] {
  const found: ConflictPlace[] = [];
  let open: { from: number; oursFrom: number; oursTo: number | null; theirsFrom: number | null } | null =
    null;
  let at = 0;
  for (const line of doc.iterLines()) {
    const next = Math.min(at + line.length + 1, doc.length);
    if (isMarker(line, "<")) open = { from: at, oursFrom: next, oursTo: null, theirsFrom: null };
    else if (open && isMarker(line, "|")) open.oursTo ??= at;
    else if (open && open.theirsFrom === null && isMarker(line, "=")) {
      open.oursTo ??= at;
      open.theirsFrom = next;
    } else if (open?.theirsFrom != null && open.oursTo !== null && isMarker(line, ">")) {
      const { from, oursFrom, oursTo, theirsFrom } = open;
      found.push({ from, oursFrom, oursTo, theirsFrom, theirsTo: at, to: next });
      open = null;
    }
    at += line.length + 1;
  }
  return found;
}

/** The text that takes the place of a conflict. */
export function resolvedText(doc: Text, conflict: ConflictPlace, choice: ConflictChoice): string {
  const ours = doc.sliceString(conflict.oursFrom, conflict.oursTo);
  const theirs = doc.sliceString(conflict.theirsFrom, conflict.theirsTo);
  return choice === "ours" ? ours : choice === "theirs" ? theirs : ours + theirs;
}
