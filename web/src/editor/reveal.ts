// Places in files to show, each once.

/** A place in a file to show. Each request has another object, so that it is shown once. */
export interface Reveal {
  /** Counted from 1. */
  line: number;
  /** UTF-16 code units of the line before the place. */
  column: number;
  /** UTF-16 code units to select. */
  length: number;
}

const claimed = new WeakSet<Reveal>();

/**
 * Returns `reveal` to the first caller, and null to later ones. A group gets its request again whenever it is
 * focused: a selection that is shown again would be overwritten by the next key.
 */
export function claimReveal(reveal: Reveal | null): Reveal | null {
  if (!reveal || claimed.has(reveal)) return null;
  claimed.add(reveal);
  return reveal;
}
