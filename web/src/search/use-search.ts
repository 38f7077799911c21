// The search of a workspace: what is searched for, its results as they arrive, and replacing them.
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { filesApi, type SearchOptions } from "../api/endpoints";
import { errorMessage } from "../api/client";
import type { SearchEvent } from "../api/agent";
import { usePreferences } from "../ui/preferences";
import { addEvents, NO_RESULTS, withoutMatch, type FileMatches, type SearchResults } from "./search-model";
import { replaceInFiles, undoReplacement, type Replaced } from "./replace";

/** How long a pause in typing is, in milliseconds. */
const TYPING_PAUSE = 250;
/** Results that arrive within this time are shown at once. */
const BATCH_MS = 80;

export interface SearchQuery {
  pattern: string;
  replacement: string;
  /** Whether the user replaces, or only searches. */
  isReplacing: boolean;
  include: string;
  exclude: string;
  /** Directory that is searched. Empty: the home. */
  path: string;
}

export interface Search {
  query: SearchQuery;
  change: (change: Partial<SearchQuery>) => void;
  /** Searches again at once. */
  refresh: () => void;
  results: SearchResults;
  /** Why the search failed. Empty: it did not. */
  failure: string;
  isRunning: boolean;
  dismiss: (path: string, match: FileMatches["matches"][number] | null) => void;
  replace: (files: readonly FileMatches[]) => void;
  /** What was replaced last, until the next search. */
  replaced: Replaced | null;
  undo: () => void;
}

const EMPTY: SearchQuery = {
  pattern: "",
  replacement: "",
  isReplacing: false,
  include: "",
  exclude: "",
  path: "",
};

export function useSearch(workspace: string): Search {
  const [query, setQuery] = useState(EMPTY);
  const { searchRegex, searchCase, searchWord, searchIgnored } = usePreferences();
  const [attempt, setAttempt] = useState(0);
  const [state, setState] = useState({ results: NO_RESULTS, failure: "", isRunning: false });
  const [replaced, setReplaced] = useState<Replaced | null>(null);
  const { pattern, replacement, isReplacing, include, exclude, path } = query;
  const options = useMemo<SearchOptions>(
    () => ({
      pattern,
      replacement: isReplacing ? replacement : null,
      regex: searchRegex,
      caseSensitive: searchCase,
      wholeWord: searchWord,
      ignored: searchIgnored,
      include,
      exclude,
      path,
    }),
    [
      pattern,
      replacement,
      isReplacing,
      include,
      exclude,
      path,
      searchRegex,
      searchCase,
      searchWord,
      searchIgnored,
    ],
  );
  const lastAttempt = useRef(attempt);

  useEffect(() => {
    const isTyped = lastAttempt.current === attempt;
    lastAttempt.current = attempt;
    const controller = new AbortController();
    const timer = setTimeout(
      () => {
        if (options.pattern === "") {
          setState({ results: NO_RESULTS, failure: "", isRunning: false });
          return;
        }
        void run(workspace, options, controller.signal, setState);
      },
      isTyped && options.pattern !== "" ? TYPING_PAUSE : 0,
    );
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [workspace, options, attempt]);

  const change = useCallback((change: Partial<SearchQuery>) => {
    setQuery((query) => ({ ...query, ...change }));
    setReplaced(null);
  }, []);
  const refresh = useCallback(() => setAttempt((attempt) => attempt + 1), []);
  const dismiss = useCallback<Search["dismiss"]>((path, match) => {
    setState((state) => ({ ...state, results: withoutMatch(state.results, path, match) }));
  }, []);
  const finish = (work: Promise<Replaced>) =>
    void work.then((replaced) => {
      setReplaced(replaced);
      refresh();
    });
  return {
    query,
    change,
    refresh,
    ...state,
    dismiss,
    replace: (files) => finish(replaceInFiles(workspace, files)),
    replaced,
    undo: () => replaced && finish(undoReplacement(workspace, replaced)),
  };
}

type SetState = (state: { results: SearchResults; failure: string; isRunning: boolean }) => void;

/** Runs a search and shows its results. The last ones stay until the first new ones arrive. */
async function run(workspace: string, options: SearchOptions, signal: AbortSignal, show: SetState) {
  let results = NO_RESULTS;
  let waiting: SearchEvent[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  const flush = () => {
    timer = undefined;
    if (signal.aborted) return;
    results = addEvents(results, waiting);
    waiting = [];
    show({ results, failure: "", isRunning: results.end === null });
  };
  try {
    for await (const event of await filesApi.search(workspace, options, signal)) {
      waiting.push(event);
      timer ??= setTimeout(flush, BATCH_MS);
    }
    clearTimeout(timer);
    flush();
    if (results.end === null && !signal.aborted)
      show({ results, failure: "The connection was lost before the search was complete.", isRunning: false });
  } catch (error) {
    clearTimeout(timer);
    if (!signal.aborted) show({ results, failure: errorMessage(error), isRunning: false });
  }
}
