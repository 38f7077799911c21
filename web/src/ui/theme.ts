// Light or dark theme: the system's, or the user's choice in this browser.
import { useSyncExternalStore } from "react";

export type Theme = "system" | "light" | "dark";
const KEY = "burrow.theme";
const listeners = new Set<() => void>();

function read(): Theme {
  try {
    const stored = window.localStorage.getItem(KEY);
    return stored === "light" || stored === "dark" ? stored : "system";
  } catch {
    return "system"; // storage may be blocked
  }
}

let current: Theme = "system";

function apply(): void {
  if (current === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = current;
  for (const listener of listeners) listener();
}

export function startTheme(): void {
  current = read();
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
  apply();
}

export function setTheme(theme: Theme): void {
  current = theme;
  try {
    if (theme === "system") window.localStorage.removeItem(KEY);
    else window.localStorage.setItem(KEY, theme);
  } catch {
    // Storage is blocked: the choice lasts until the page is reloaded.
  }
  apply();
}

function isDark(): boolean {
  return current === "system"
    ? window.matchMedia("(prefers-color-scheme: dark)").matches
    : current === "dark";
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const useTheme = (): Theme => useSyncExternalStore(subscribe, () => current);
export const useIsDark = (): boolean => useSyncExternalStore(subscribe, isDark);
