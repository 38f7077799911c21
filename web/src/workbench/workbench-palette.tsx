// The workbench's palette: quick open for all files of the home, `>` for commands, `:` for a line.
import { useMemo } from "react";
import { FileIcon } from "../files/file-icon";
import { displayName, nameOf, parentOf } from "../files/paths";
import { useFoundFiles, type FoundFiles } from "../files/use-found-files";
import { commandGroups } from "../ui/command-palette";
import { rankTexts, type Command } from "../ui/commands";
import { Palette, type PaletteGroup } from "../ui/palette";
import { setPreference, usePreferences } from "../ui/preferences";
import { readRecent } from "../ui/recent";
import { groupFiles, parseQuery, type TextPosition } from "./quick-open";

interface Props {
  workspace: string;
  commands: Command[];
  /** Paths of the files that have been listed. */
  known: readonly string[];
  query: string;
  onQuery: (query: string) => void;
  onOpen: (path: string, at: TextPosition | null) => void;
  /** Shows a line of the active file. Null: no file is active. */
  onLine: ((at: TextPosition) => void) | null;
  onClose: () => void;
}

export function WorkbenchPalette(props: Props) {
  const { workspace, commands, known, query, onQuery, onOpen, onLine, onClose } = props;
  const parsed = parseQuery(query);
  const { quickOpenIgnored } = usePreferences();
  const found = useFoundFiles(
    workspace,
    parsed.kind === "file" ? parsed.text : null,
    quickOpenIgnored,
    known,
  );
  const recent = useMemo(() => readRecent(`files.${workspace}`), [workspace]);

  const fileGroups = (text: string, at: TextPosition | null): PaletteGroup[] =>
    groupFiles(text.trim() ? rankTexts(text.trim(), recent) : recent, found.paths).map((group) => ({
      heading: group.heading,
      items: group.paths.map((path) => ({
        id: `file ${path}`,
        content: <FileLabel path={path} />,
        run: () => onOpen(path, at),
      })),
    }));
  const lineGroups = (at: TextPosition | null): PaletteGroup[] =>
    at && onLine
      ? [
          {
            heading: "Line",
            items: [
              {
                id: "line",
                content: `Go to line ${at.line}, column ${at.column}`,
                run: () => onLine(at),
              },
            ],
          },
        ]
      : [];

  const groups =
    parsed.kind === "command"
      ? commandGroups(parsed.text, commands)
      : parsed.kind === "line"
        ? lineGroups(parsed.at)
        : fileGroups(parsed.text, parsed.at);
  const note =
    parsed.kind === "file"
      ? noteOf(found)
      : parsed.kind === "line"
        ? onLine
          ? "Type a line, or a line and a column: 12:4"
          : "Open a file first."
        : "";
  return (
    <Palette
      label="Command or file"
      placeholder="Search files by name (append : to go to a line, > for commands)"
      query={query}
      onQuery={onQuery}
      groups={groups}
      note={note}
      tools={
        parsed.kind === "file" && (
          <label className="palette-switch">
            <input
              type="checkbox"
              checked={quickOpenIgnored}
              onChange={(event) => setPreference("quickOpenIgnored", event.target.checked)}
            />
            Include ignored files
          </label>
        )
      }
      onKey={(event) => {
        const ctrl = event.ctrlKey || event.metaKey;
        if (event.key === "F1" || (ctrl && event.shiftKey && event.code === "KeyP")) onQuery(">");
        else if (ctrl && event.code === "KeyG") onQuery(":");
        // Otherwise the browser would print the page.
        else if (!(ctrl && event.code === "KeyP")) return false;
        return true;
      }}
      onClose={onClose}
    />
  );
}

function FileLabel({ path }: { path: string }) {
  return (
    <>
      <FileIcon name={nameOf(path)} />
      <span>{displayName(nameOf(path))}</span>
      <span className="soft tree-name" title={displayName(path)}>
        {displayName(parentOf(path))}
      </span>
    </>
  );
}

function noteOf({ searching, failure, truncated }: FoundFiles): string {
  if (searching) return "Searching…";
  if (failure) return `Cannot search the home: ${failure}`;
  return truncated ? "The home has too many files to search them all." : "";
}
