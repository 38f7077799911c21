// How long to wait before reconnecting. Pure: randomness is an argument.

const MIN_DELAY_MS = 250;
const MAX_DELAY_MS = 15_000;

/**
 * Delay before attempt `attempt` (from 1): doubles, is bounded, and has jitter so that many pages
 * do not reconnect at once.
 */
export function backoffMs(attempt: number, random: () => number = Math.random): number {
  const whole = Math.min(MAX_DELAY_MS, MIN_DELAY_MS * 2 ** Math.min(attempt - 1, 10));
  return Math.round(whole / 2 + (whole / 2) * random());
}
