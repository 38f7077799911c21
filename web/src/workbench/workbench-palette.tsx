// The workbench's palette: quick open for all files of the home, `>` for commands, `:` for a line, `@` and
// `#` for symbols.
import { useMemo } from "react";
import { FileIcon } from "../files/file-icon";
import { displayName, nameOf, parentOf } from "../files/paths";
import { useFoundFiles, type FoundFiles } from "../files/use-found-files";
import { commandGroups } from "../ui/command-palette";
import type { DocumentSymbol, TextRange, WorkspaceSymbol } from "../api/agent";
import { useFileSymbols, useWorkspaceSymbols, type SymbolSource } from "../languages/use-symbols";
import { rank, rankTexts, type Command } from "../ui/commands";
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
  symbols: SymbolSource;
  onClose: () => void;
}

/** How many symbols of a file are listed. */
const MAX_SYMBOLS = 300;

export function WorkbenchPalette(props: Props) {
  const { workspace, commands, known, query, onQuery, onOpen, onLine, symbols, onClose } = props;
  const parsed = parseQuery(query);
  const ofFile = useFileSymbols(symbols, parsed.kind === "symbol" && onLine !== null);
  const ofWorkspace = useWorkspaceSymbols(symbols, parsed.kind === "workspaceSymbol" ? parsed.text : null);
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

  const symbolGroups = (text: string): PaletteGroup[] => [
    {
      heading: "Symbols in this file",
      items: rank(text, ofFile.symbols ?? [], ({ name }) => name, MAX_SYMBOLS).map((symbol) => ({
        id: `symbol ${symbol.name_range.start.line}:${symbol.name_range.start.column} ${symbol.name}`,
        // Only the whole list shows what contains what.
        content: <SymbolLabel symbol={symbol} depth={text ? 0 : symbol.depth} where="" />,
        run: () => onLine?.(startOf(symbol.name_range)),
      })),
    },
  ];
  const workspaceSymbolGroups = (text: string): PaletteGroup[] => [
    {
      heading: "Symbols in the workspace",
      items: rank(text, ofWorkspace.symbols ?? [], ({ name }) => name).map((symbol) => ({
        id: `symbol ${symbol.path}:${symbol.range.start.line}:${symbol.range.start.column} ${symbol.name}`,
        content: (
          <SymbolLabel
            symbol={symbol}
            depth={0}
            where={[symbol.container, symbol.path].filter(Boolean).join(" · ")}
          />
        ),
        run: () => onOpen(symbol.path, startOf(symbol.range)),
      })),
    },
  ];
  const { groups, note } = ((): { groups: PaletteGroup[]; note: string } => {
    switch (parsed.kind) {
      case "command":
        return { groups: commandGroups(parsed.text, commands), note: "" };
      case "line":
        return {
          groups: lineGroups(parsed.at),
          note: onLine ? "Type a line, or a line and a column: 12:4" : "Open a file first.",
        };
      case "symbol":
        if (!onLine) return { groups: [], note: "Open a file first." };
        return { groups: symbolGroups(parsed.text), note: symbolNote(ofFile) };
      case "workspaceSymbol":
        return { groups: workspaceSymbolGroups(parsed.text), note: symbolNote(ofWorkspace) };
      case "file":
        return { groups: fileGroups(parsed.text, parsed.at), note: noteOf(found) };
    }
  })();
  return (
    <Palette
      label="Command or file"
      placeholder="Search files by name (: for a line, @ for a symbol, # for one of any file, > for commands)"
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
        else if (ctrl && event.shiftKey && event.code === "KeyO") onQuery("@");
        else if (ctrl && event.code === "KeyT") onQuery("#");
        else if (ctrl && event.code === "KeyG") onQuery(":");
        // Otherwise the browser would print the page.
        else if (!(ctrl && event.code === "KeyP")) return false;
        return true;
      }}
      onClose={onClose}
    />
  );
}

interface SymbolLabelProps {
  symbol: DocumentSymbol | WorkspaceSymbol;
  depth: number;
  where: string;
}

function SymbolLabel({ symbol: { name, kind }, depth, where }: SymbolLabelProps) {
  return (
    <>
      <span style={{ paddingInlineStart: depth * 14 }}>{displayName(name)}</span>
      <span className="soft">{kind.replace("_", " ")}</span>
      {where && (
        <span className="soft tree-name" title={displayName(where)}>
          {displayName(where)}
        </span>
      )}
    </>
  );
}

/** Where a range begins, with columns counted from 1. */
const startOf = ({ start }: TextRange): TextPosition => ({ line: start.line, column: start.column + 1 });

function symbolNote({
  symbols,
  searching,
}: {
  symbols: readonly unknown[] | null;
  searching: boolean;
}): string {
  if (searching) return "Searching…";
  return symbols === null ? "No language server knows the symbols. Its state is in the status bar." : "";
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
