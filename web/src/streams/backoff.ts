// When to try again. Pure: the die is an argument.

const FIRST_MS = 250;
const LONGEST_MS = 15_000;

/** How long to wait before attempt `attempt` (from 1): doubling, bounded, and spread so that a thousand pages do not return at once. */
export function backoff(attempt: number, random: () => number = Math.random): number {
  const whole = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempt - 1, 10));
  return Math.round(whole / 2 + (whole / 2) * random());
}
