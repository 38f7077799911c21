// Short lists of what was used last, newest first, remembered in the browser.

const MAX_RECENT = 50;

/** `list` with `item` as its newest entry. */
export function withRecent(list: readonly string[], item: string): string[] {
  return [item, ...list.filter((other) => other !== item)].slice(0, MAX_RECENT);
}

export function readRecent(key: string): string[] {
  try {
    const stored = JSON.parse(localStorage.getItem(`burrow.recent.${key}`) ?? "[]") as unknown;
    return Array.isArray(stored) ? stored.filter((one): one is string => typeof one === "string") : [];
  } catch {
    return [];
  }
}

export function recordRecent(key: string, item: string): void {
  try {
    localStorage.setItem(`burrow.recent.${key}`, JSON.stringify(withRecent(readRecent(key), item)));
  } catch {
    // Storage is full or blocked: nothing is remembered.
  }
}
