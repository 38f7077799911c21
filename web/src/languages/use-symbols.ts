// The symbols that the palette lists, while it lists them.
import { useEffect, useState } from "react";
import type { DocumentSymbol, WorkspaceSymbol } from "../api/agent";

/** Where symbols come from. */
export interface SymbolSource {
  /** Those of the file in front. Null: no server knows them. */
  ofFile: (signal: AbortSignal) => Promise<readonly DocumentSymbol[] | null>;
  /** Those of the workspace that match. */
  ofWorkspace: (query: string, signal: AbortSignal) => Promise<readonly WorkspaceSymbol[]>;
}

interface Answer<Symbol> {
  query: string | null;
  symbols: readonly Symbol[] | null;
}

export interface FoundSymbols<Symbol> {
  /** Null: no server knows them. */
  symbols: readonly Symbol[] | null;
  searching: boolean;
}

const TIMEOUT_MS = 25_000;
/** How long a pause in typing is, in milliseconds. */
const TYPING_PAUSE = 150;

/** Asks once, when it is wanted for the first time. */
export function useFileSymbols(source: SymbolSource, isWanted: boolean): FoundSymbols<DocumentSymbol> {
  return useAnswer(isWanted ? "" : null, (_, signal) => source.ofFile(signal), 0);
}

/** Asks for each query. What was found last stays until then. */
export function useWorkspaceSymbols(
  source: SymbolSource,
  query: string | null,
): FoundSymbols<WorkspaceSymbol> {
  return useAnswer(query, source.ofWorkspace, TYPING_PAUSE);
}

function useAnswer<Symbol>(
  query: string | null,
  ask: (query: string, signal: AbortSignal) => Promise<readonly Symbol[] | null>,
  pause: number,
): FoundSymbols<Symbol> {
  const [answer, setAnswer] = useState<Answer<Symbol>>({ query: null, symbols: [] });
  // The palette asks about what was in front when it was opened.
  const [first] = useState(() => ask);
  useEffect(() => {
    if (query === null) return;
    const controller = new AbortController();
    const signal = AbortSignal.any([controller.signal, AbortSignal.timeout(TIMEOUT_MS)]);
    const timer = setTimeout(() => {
      first(query, signal).then(
        (symbols) => {
          if (!controller.signal.aborted) setAnswer({ query, symbols });
        },
        () => {
          if (!controller.signal.aborted) setAnswer({ query, symbols: null });
        },
      );
    }, pause);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [query, first, pause]);
  return { symbols: answer.symbols, searching: query !== null && answer.query !== query };
}
