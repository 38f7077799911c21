// Merges two changes of a text: what the user typed, and what happened to the file. Pure.
export interface TextChange {
  /** Range in the old text. */
  from: number;
  to: number;
  insert: string;
}

/** Finds the changes between two texts, in order. */
export type FindChanges = (before: string, after: string) => readonly TextChange[];

/**
 * The changes that bring `mine` into `theirs`, where both are changes of `base`, in order. Null if both
 * changed the same place differently.
 */
export function mergeChanges(
  base: string,
  mine: string,
  theirs: string,
  findChanges: FindChanges,
): TextChange[] | null {
  if (mine === theirs || mine === base) return [];
  const own = findChanges(base, mine);
  const others = findChanges(base, theirs);
  const merged: TextChange[] = [];
  for (const change of own) {
    const touching = others.filter((other) => touches(change, other));
    const moved = others.filter((other) => other.to <= change.from && !touching.includes(other));
    const shift = moved.reduce((sum, other) => sum + other.insert.length - (other.to - other.from), 0);
    if (touching.length === 0) {
      merged.push({ from: change.from + shift, to: change.to + shift, insert: change.insert });
      continue;
    }
    const [other] = touching;
    if (touching.length > 1 || !other || other.from !== change.from || other.to !== change.to) return null;
    // A part of what was typed may have arrived.
    if (other.insert.startsWith(change.insert)) continue;
    if (!change.insert.startsWith(other.insert)) return null;
    const at = change.from + shift + other.insert.length;
    merged.push({ from: at, to: at, insert: change.insert.slice(other.insert.length) });
  }
  return merged;
}

function touches(a: TextChange, b: TextChange): boolean {
  return a.from <= b.to && b.from <= a.to;
}

/** Applies changes that are in order. */
export function applyChanges(text: string, changes: readonly TextChange[]): string {
  let result = "";
  let at = 0;
  for (const { from, to, insert } of changes) {
    result += text.slice(at, from) + insert;
    at = to;
  }
  return result + text.slice(at);
}
