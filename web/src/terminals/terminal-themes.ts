// The sixteen colours of the terminal, light and dark.
import type { ISearchOptions } from "@xterm/addon-search";
import { type ITheme } from "@xterm/xterm";

/** The colours of matches of a search. */
export function findColors(isDark: boolean): NonNullable<ISearchOptions["decorations"]> {
  const [match, active] = isDark ? ["#55491f", "#8a6a12"] : ["#f6e7b0", "#f2bf4a"];
  return {
    matchBackground: match,
    matchOverviewRuler: match,
    activeMatchBackground: active,
    activeMatchColorOverviewRuler: active,
  };
}

export const lightTheme: ITheme = {
  background: "#ffffff",
  foreground: "#1f2320",
  cursor: "#1f2320",
  cursorAccent: "#ffffff",
  selectionBackground: "#cfe5dc",
  black: "#1f2320",
  red: "#b3261e",
  green: "#1f7a4d",
  yellow: "#825400",
  blue: "#2a64b0",
  magenta: "#8a3b9c",
  cyan: "#0f6b74",
  white: "#77736b",
  brightBlack: "#5b605c",
  brightRed: "#c63a30",
  brightGreen: "#257f52",
  brightYellow: "#8f6210",
  brightBlue: "#3470be",
  brightMagenta: "#9a4cac",
  brightCyan: "#1a7780",
  brightWhite: "#4a4e4b",
};

export const darkTheme: ITheme = {
  background: "#1c1f21",
  foreground: "#e6e8e6",
  cursor: "#e6e8e6",
  cursorAccent: "#1c1f21",
  selectionBackground: "#2b5247",
  black: "#4b5256",
  red: "#f2857c",
  green: "#5ecb8f",
  yellow: "#e3b35b",
  blue: "#7fb1f0",
  magenta: "#cf9ae0",
  cyan: "#6fc7cf",
  white: "#c9cdca",
  brightBlack: "#8b928f",
  brightRed: "#f7a59e",
  brightGreen: "#84dcab",
  brightYellow: "#efcb86",
  brightBlue: "#a3c8f6",
  brightMagenta: "#deb8ea",
  brightCyan: "#95d9df",
  brightWhite: "#ffffff",
};
