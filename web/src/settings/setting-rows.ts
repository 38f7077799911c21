// What the settings of the workbench look like to a user. Pure.
import type { PreferenceName, Preferences } from "../ui/preferences";

export type Control =
  | { kind: "switch" }
  | { kind: "number"; min: number; max: number; unit: string }
  | { kind: "choice"; options: readonly (readonly [value: string, word: string])[] };

export interface SettingRow {
  name: PreferenceName;
  group: string;
  label: string;
  about: string;
  control: Control;
}

const FONT_SIZE: Control = { kind: "number", min: 8, max: 40, unit: "px" };
const SWITCH: Control = { kind: "switch" };

export const SETTING_ROWS: readonly SettingRow[] = [
  {
    name: "theme",
    group: "Appearance",
    label: "Theme",
    about: "System follows what the browser prefers.",
    control: {
      kind: "choice",
      options: [
        ["system", "System"],
        ["light", "Light"],
        ["dark", "Dark"],
      ],
    },
  },
  {
    name: "editorFontSize",
    group: "Editor",
    label: "Font size",
    about: "Size of the text in files.",
    control: FONT_SIZE,
  },
  {
    name: "tabWidth",
    group: "Editor",
    label: "Tab width",
    about: "Columns of a tab, and of a level in a file that has no indentation yet.",
    control: { kind: "number", min: 1, max: 16, unit: "columns" },
  },
  {
    name: "wordWrap",
    group: "Editor",
    label: "Word wrap",
    about: "Long lines continue on the next line.",
    control: SWITCH,
  },
  {
    name: "showWhitespace",
    group: "Editor",
    label: "Show whitespace",
    about: "Spaces and tabs are drawn.",
    control: SWITCH,
  },
  {
    name: "trimOnSave",
    group: "Editor",
    label: "Trim on save",
    about: "Ctrl+S removes spaces and tabs at the ends of lines.",
    control: SWITCH,
  },
  {
    name: "formatOnSave",
    group: "Editor",
    label: "Format on save",
    about: "Ctrl+S formats the text, if the language server can.",
    control: SWITCH,
  },
  {
    name: "inlineBlame",
    group: "Editor",
    label: "Blame in the line",
    about: "The line of the cursor names its commit.",
    control: SWITCH,
  },
  {
    name: "inlineDiff",
    group: "Editor",
    label: "Inline changes",
    about: "Before and after in one column instead of two.",
    control: SWITCH,
  },
  {
    name: "terminalFontSize",
    group: "Terminal",
    label: "Font size",
    about: "Size of the text in terminals.",
    control: FONT_SIZE,
  },
  {
    name: "terminalCursor",
    group: "Terminal",
    label: "Cursor",
    about: "Its shape, unless a program asks for another one.",
    control: {
      kind: "choice",
      options: [
        ["block", "Block"],
        ["bar", "Bar"],
        ["underline", "Underline"],
      ],
    },
  },
  {
    name: "terminalPasteWarning",
    group: "Terminal",
    label: "Paste warning",
    about: "Ask before pasting control characters, or several lines that the shell may run.",
    control: {
      kind: "choice",
      options: [
        ["auto", "When lines may run"],
        ["always", "Always"],
        ["never", "Never"],
      ],
    },
  },
  {
    name: "quickOpenIgnored",
    group: "Search",
    label: "Ignored files in quick open",
    about: "Ctrl+P finds files that a .gitignore names.",
    control: SWITCH,
  },
  {
    name: "searchIgnored",
    group: "Search",
    label: "Ignored files in search",
    about: "Search in files reads files that a .gitignore names.",
    control: SWITCH,
  },
];

/** The rows that have every word of the query, in groups. */
export function findSettings(query: string): { group: string; rows: SettingRow[] }[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const found = SETTING_ROWS.filter(({ group, label, about }) => {
    const text = `${group} ${label} ${about}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const groups = [...new Set(found.map(({ group }) => group))];
  return groups.map((group) => ({ group, rows: found.filter((row) => row.group === group) }));
}

/** How a value is called. */
export function wordOf({ control }: SettingRow, value: Preferences[PreferenceName]): string {
  if (control.kind === "switch") return value ? "on" : "off";
  if (control.kind === "number") return `${value} ${control.unit}`;
  return control.options.find(([option]) => option === value)?.[1] ?? String(value);
}
