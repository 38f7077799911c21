// What a user prefers in the workbench: for all workspaces, and for the one that is shown. Kept on the
// server; a copy in the browser shows the page right before the server has answered, and in all tabs.
import { useSyncExternalStore } from "react";

export type Theme = "system" | "light" | "dark";
export type TerminalCursor = "block" | "bar" | "underline";
export type PasteWarning = "auto" | "always" | "never";

export interface Preferences {
  theme: Theme;
  /** In pixels. */
  editorFontSize: number;
  /** In columns. Also the indentation of a file that has none yet. */
  tabWidth: number;
  /** Long lines continue on the next line of the editor. */
  wordWrap: boolean;
  /** Spaces and tabs are drawn. */
  showWhitespace: boolean;
  /** Saving removes spaces and tabs at the ends of lines. */
  trimOnSave: boolean;
  /** Saving formats the text, if the language server can. */
  formatOnSave: boolean;
  /** The editor names the commit of the current line. */
  inlineBlame: boolean;
  /** Changes are shown in one column. */
  inlineDiff: boolean;
  /** Quick open finds files that a .gitignore names. */
  quickOpenIgnored: boolean;
  searchRegex: boolean;
  searchCase: boolean;
  searchWord: boolean;
  searchIgnored: boolean;
  /** In pixels. */
  terminalFontSize: number;
  terminalCursor: TerminalCursor;
  /** When a terminal asks before it pastes several lines or control characters. */
  terminalPasteWarning: PasteWarning;
}
export type PreferenceName = keyof Preferences;
/** Those that are on or off. */
export type SwitchName = {
  [Name in PreferenceName]: Preferences[Name] extends boolean ? Name : never;
}[PreferenceName];

/** Whose preference it is. That of a workspace has precedence. */
export type PreferenceScope = "user" | "workspace";

const DEFAULTS: Preferences = {
  theme: "system",
  editorFontSize: 13,
  tabWidth: 4,
  wordWrap: false,
  showWhitespace: false,
  trimOnSave: false,
  formatOnSave: false,
  inlineBlame: true,
  inlineDiff: false,
  quickOpenIgnored: false,
  searchRegex: false,
  searchCase: false,
  searchWord: false,
  searchIgnored: false,
  terminalFontSize: 13,
  terminalCursor: "block",
  terminalPasteWarning: "auto",
};
const NAMES = Object.keys(DEFAULTS) as PreferenceName[];

/** What is valid, where that is not every value of the default's type. */
const LIMITS: Partial<Record<PreferenceName, (value: unknown) => boolean>> = {
  theme: (value) => ["system", "light", "dark"].includes(value as string),
  terminalCursor: (value) => ["block", "bar", "underline"].includes(value as string),
  terminalPasteWarning: (value) => ["auto", "always", "never"].includes(value as string),
  editorFontSize: isBetween(8, 40),
  terminalFontSize: isBetween(8, 40),
  tabWidth: isBetween(1, 16),
};

function isBetween(low: number, high: number): (value: unknown) => boolean {
  return (value) => Number.isInteger(value) && Number(value) >= low && Number(value) <= high;
}

/** The valid preferences in an object from outside. */
export function readPreferences(found: unknown): Partial<Preferences> {
  const values = (typeof found === "object" && found !== null ? found : {}) as Record<string, unknown>;
  const valid = NAMES.filter((name) => {
    const value = values[name];
    return LIMITS[name]?.(value) ?? typeof value === typeof DEFAULTS[name];
  });
  return Object.fromEntries(valid.map((name) => [name, values[name]]));
}

const KEY = "burrow.preferences";
const listeners = new Set<() => void>();
let user: Partial<Preferences> | null = null;
let workspace: Partial<Preferences> = {};
let merged: Preferences | null = null;

function readUser(): Partial<Preferences> {
  if (user) return user;
  try {
    user = readPreferences(JSON.parse(localStorage.getItem(KEY) ?? "{}"));
  } catch {
    // Storage is blocked, or not ours: the preferences last as long as the page.
    user = {};
  }
  return user;
}

/** What is set in a scope. What is not, has the value of the other scope, or the default. */
export function preferencesOf(scope: PreferenceScope): Partial<Preferences> {
  return scope === "user" ? readUser() : workspace;
}

/** The value that holds in a scope, whether it is set there or not. */
export function preferenceIn(scope: PreferenceScope): Preferences {
  return scope === "user" ? { ...DEFAULTS, ...readUser() } : currentPreferences();
}

export function currentPreferences(): Preferences {
  return (merged ??= { ...DEFAULTS, ...readUser(), ...workspace });
}

/** Replaces what is set in a scope: with what the server knows, or for another workspace. */
export function replacePreferences(scope: PreferenceScope, values: Partial<Preferences>): void {
  if (scope === "workspace") workspace = values;
  else storeUser(values);
  changed();
}

function storeUser(values: Partial<Preferences>): void {
  user = values;
  try {
    localStorage.setItem(KEY, JSON.stringify(values));
  } catch {
    // As above.
  }
}

function changed(): void {
  merged = null;
  for (const listener of listeners) listener();
}

/** Keeps a change on the server. Null resets the preference. */
type Keep = <Name extends PreferenceName>(
  scope: PreferenceScope,
  name: Name,
  value: Preferences[Name] | null,
) => void;
let keep: Keep = () => undefined;

/** Says who keeps changes on the server. */
export function keepPreferencesWith(write: Keep): void {
  keep = write;
}

/**
 * Changes a preference at once, or with null resets it. Without a scope: where it is set now, so that a
 * switch does what it shows.
 */
export function setPreference<Name extends PreferenceName>(
  name: Name,
  value: Preferences[Name] | null,
  scope: PreferenceScope = name in workspace ? "workspace" : "user",
): void {
  const values = { ...preferencesOf(scope) };
  if (value === null) delete values[name];
  else values[name] = value;
  replacePreferences(scope, values);
  keep(scope, name, value);
}

export function subscribePreferences(listener: () => void): () => void {
  const onStorage = (event: StorageEvent) => {
    if (event.key !== KEY) return;
    user = null;
    merged = null;
    listener();
  };
  listeners.add(listener);
  window.addEventListener("storage", onStorage);
  return () => {
    listeners.delete(listener);
    window.removeEventListener("storage", onStorage);
  };
}

/** The preferences that hold now. */
export function usePreferences(): Preferences {
  return useSyncExternalStore(subscribePreferences, currentPreferences);
}
