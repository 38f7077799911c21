// Light or dark: what the user prefers, or the system.
import { useSyncExternalStore } from "react";
import { currentPreferences, setPreference, subscribePreferences, type Theme } from "./preferences";

const systemIsDark = () => window.matchMedia("(prefers-color-scheme: dark)");

/** Applies the theme now and whenever the preference changes. */
export function startTheme(): void {
  subscribePreferences(apply);
  apply();
}

function apply(): void {
  const { theme } = currentPreferences();
  if (theme === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
}

export function setTheme(theme: Theme): void {
  setPreference("theme", theme);
}

function isDark(): boolean {
  const { theme } = currentPreferences();
  return theme === "system" ? systemIsDark().matches : theme === "dark";
}

function subscribe(listener: () => void): () => void {
  const system = systemIsDark();
  system.addEventListener("change", listener);
  const unsubscribe = subscribePreferences(listener);
  return () => {
    system.removeEventListener("change", listener);
    unsubscribe();
  };
}

export const useTheme = (): Theme => useSyncExternalStore(subscribe, () => currentPreferences().theme);
export const useIsDark = (): boolean => useSyncExternalStore(subscribe, isDark);
