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
  /** What was asked: whether ignored files are found, and the text. */
  key: string;
  paths: readonly string[];
  truncated: boolean;
  failure: string;
}

/** The answer to no query. */
const NONE: Answer = { key: "", paths: [], truncated: false, failure: "" };

/** Finds files while `query` is not null. `known` are paths that need no search. */
export function useFoundFiles(
  workspace: string,
  query: string | null,
  ignored: boolean,
  known: readonly string[],
): FoundFiles {
  const [answer, setAnswer] = useState(NONE);
  const isWanted = query !== null;
  const text = query?.trim() ?? "";
  const key = `${ignored} ${text}`;

  // The empty query makes the agent list the home, before the first letter is typed. It is not ended by
  // that letter, whose query uses the same list.
  useEffect(() => {
    if (!isWanted) return;
    const controller = new AbortController();
    filesApi.find(workspace, "", ignored, controller.signal).then(
      ({ paths, truncated }) =>
        setAnswer((last) => (last === NONE ? { key: `${ignored} `, paths, truncated, failure: "" } : last)),
      // The next query tells.
      () => undefined,
    );
    return () => controller.abort();
  }, [workspace, ignored, isWanted]);

  useEffect(() => {
    if (text === "") return;
    const controller = new AbortController();
    const timer = setTimeout(() => {
      filesApi.find(workspace, text, ignored, controller.signal).then(
        ({ paths, truncated }) => setAnswer({ key, paths, truncated, failure: "" }),
        (error: unknown) => {
          if (controller.signal.aborted) return;
          setAnswer({ key, paths: [], truncated: false, failure: errorMessage(error) });
        },
      );
    }, TYPING_PAUSE);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [workspace, text, ignored, key]);

  if (!isWanted) return { ...NONE, searching: false };
  if (answer.key === key && !answer.failure) return { ...answer, searching: false };
  const paths = rankTexts(text, [...new Set([...answer.paths, ...known])]);
  return { paths, truncated: false, failure: answer.failure, searching: text !== "" && answer.key !== key };
}
