// What a user has switched on or off, remembered in the browser: for all workspaces, and in all tabs.
import { useSyncExternalStore } from "react";

export interface Preferences {
  /** Long lines continue on the next line of the editor. */
  wordWrap: boolean;
  /** Quick open finds files that a .gitignore names. */
  quickOpenIgnored: boolean;
  searchRegex: boolean;
  searchCase: boolean;
  searchWord: boolean;
  searchIgnored: boolean;
  /** The editor names the commit of the current line. */
  inlineBlame: boolean;
  /** Changes are shown in one column. */
  inlineDiff: boolean;
}

const DEFAULTS: Preferences = {
  wordWrap: false,
  quickOpenIgnored: false,
  searchRegex: false,
  searchCase: false,
  searchWord: false,
  searchIgnored: false,
  inlineBlame: true,
  inlineDiff: false,
};
const KEY = "burrow.preferences";
const listeners = new Set<() => void>();
let current: Preferences | null = null;

/** Reads stored preferences. What is missing or has another type is the default. */
export function parsePreferences(stored: string | null): Preferences {
  const preferences = { ...DEFAULTS };
  try {
    const found = JSON.parse(stored ?? "{}") as Partial<Record<keyof Preferences, unknown>> | null;
    for (const name of Object.keys(DEFAULTS) as (keyof Preferences)[]) {
      const value = found?.[name];
      if (typeof value === "boolean") preferences[name] = value;
    }
  } catch {
    // Not ours: the defaults.
  }
  return preferences;
}

function read(): Preferences {
  if (current) return current;
  let stored: string | null = null;
  try {
    stored = localStorage.getItem(KEY);
  } catch {
    // Storage is blocked: the preferences last as long as the page.
  }
  return (current = parsePreferences(stored));
}

export function setPreference<Name extends keyof Preferences>(name: Name, value: Preferences[Name]): void {
  current = { ...read(), [name]: value };
  try {
    localStorage.setItem(KEY, JSON.stringify(current));
  } catch {
    // As above.
  }
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  const onStorage = (event: StorageEvent) => {
    if (event.key !== KEY) return;
    current = null;
    listener();
  };
  listeners.add(listener);
  window.addEventListener("storage", onStorage);
  return () => {
    listeners.delete(listener);
    window.removeEventListener("storage", onStorage);
  };
}

export function usePreferences(): Preferences {
  return useSyncExternalStore(subscribe, read);
}
