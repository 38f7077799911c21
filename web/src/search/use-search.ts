// The search of a workspace: what is searched for, its results as they arrive, and replacing them.
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { filesApi, type SearchOptions } from "../api/endpoints";
import { errorMessage } from "../api/client";
import type { SearchEvent } from "../api/agent";
import { usePreferences } from "../ui/preferences";
import {
  addEvents,
  areResultsPending,
  NO_RESULTS,
  withoutMatch,
  type FileMatches,
  type SearchResults,
  type ShownSearch,
} from "./search-model";
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
  /** Whether the results can be replaced: they are those of the query, and nothing is being replaced. */
  isReplaceable: boolean;
  /** Whether matches are being replaced or restored. */
  isBusy: boolean;
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
  const [state, setState] = useState<State>({ request: null, ...NOTHING_FOUND });
  const [isBusy, setBusy] = useState(false);
  const busy = useRef(false);
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
  /** Another object for each search. */
  const request = useMemo(() => ({ workspace, options, attempt }), [workspace, options, attempt]);
  const lastAttempt = useRef(attempt);

  useEffect(() => {
    const { workspace, options, attempt } = request;
    const show: Show = (found) => setState({ request, ...found });
    const isTyped = lastAttempt.current === attempt;
    lastAttempt.current = attempt;
    const controller = new AbortController();
    const timer = setTimeout(
      () => {
        if (options.pattern === "") {
          show(NOTHING_FOUND);
          return;
        }
        void run(workspace, options, controller.signal, show);
      },
      isTyped && options.pattern !== "" ? TYPING_PAUSE : 0,
    );
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [request]);
  // Ends when the page shows that the results are to be searched again, so that a second click does nothing.
  useEffect(() => {
    busy.current = isBusy;
  }, [isBusy]);

  const change = useCallback((change: Partial<SearchQuery>) => {
    setQuery((query) => ({ ...query, ...change }));
    setReplaced(null);
  }, []);
  const refresh = useCallback(() => setAttempt((attempt) => attempt + 1), []);
  const dismiss = useCallback<Search["dismiss"]>((path, match) => {
    setState((state) => ({ ...state, results: withoutMatch(state.results, path, match) }));
  }, []);
  const isReplaceable = !isBusy && !areResultsPending(state, request);
  const runExclusively = (work: () => Promise<Replaced>) => {
    if (busy.current) return;
    busy.current = true;
    setBusy(true);
    void work().then((replaced) => {
      setReplaced(replaced);
      refresh();
      setBusy(false);
    });
  };
  return {
    query,
    change,
    refresh,
    results: state.results,
    failure: state.failure,
    isReplaceable,
    isBusy,
    dismiss,
    replace: (files) => isReplaceable && runExclusively(() => replaceInFiles(workspace, files)),
    replaced,
    undo: () => replaced && runExclusively(() => undoReplacement(workspace, replaced)),
  };
}

interface Found {
  results: SearchResults;
  failure: string;
  isRunning: boolean;
}

type State = Found & ShownSearch;
type Show = (found: Found) => void;

const NOTHING_FOUND: Found = { results: NO_RESULTS, failure: "", isRunning: false };

/** Runs a search and shows its results. The last ones stay until the first new ones arrive. */
async function run(workspace: string, options: SearchOptions, signal: AbortSignal, show: Show) {
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
