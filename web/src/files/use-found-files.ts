// The files of a home that match what is typed, found by the agent in all directories. While an
// answer is awaited, what is known already is ranked here.
import { useEffect, useState } from "react";
import { filesApi } from "../api/endpoints";
import { errorMessage } from "../api/client";
import { rankTexts } from "../ui/commands";

/** How long a pause in typing is, in milliseconds. */
const TYPING_PAUSE = 120;

export interface FoundFiles {
  /** Paths of files, best match first. */
  paths: readonly string[];
  searching: boolean;
  /** The home has more files than one search visits. */
  truncated: boolean;
  failure: string;
}

interface Answer {
  query: string;
  paths: readonly string[];
  truncated: boolean;
  failure: string;
}

const NONE: Answer = { query: "", paths: [], truncated: false, failure: "" };

/** Finds files while `query` is not null. `known` are paths that need no search. */
export function useFoundFiles(workspace: string, query: string | null, known: readonly string[]): FoundFiles {
  const [answer, setAnswer] = useState(NONE);
  const wanted = query?.trim() ?? "";
  useEffect(() => {
    if (wanted === "") return;
    const controller = new AbortController();
    const timer = setTimeout(() => {
      filesApi.find(workspace, wanted, controller.signal).then(
        ({ paths, truncated }) => setAnswer({ query: wanted, paths, truncated, failure: "" }),
        (error: unknown) => {
          if (controller.signal.aborted) return;
          setAnswer({ query: wanted, paths: [], truncated: false, failure: errorMessage(error) });
        },
      );
    }, TYPING_PAUSE);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [workspace, wanted]);

  if (wanted === "") return { ...NONE, paths: known, searching: false };
  if (answer.query === wanted && !answer.failure) return { ...answer, searching: false };
  const paths = rankTexts(wanted, [...new Set([...answer.paths, ...known])]);
  return { paths, truncated: false, failure: answer.failure, searching: answer.query !== wanted };
}
