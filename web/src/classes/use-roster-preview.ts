// What the server understands of a roster while it is typed, as a hook.
import { useEffect, useState } from "react";
import { classesApi } from "../api/endpoints";
import { ApiError, errorMessage } from "../api/client";
import type { RosterResult } from "../api/types";

/** How long the text must rest before it is sent. */
const PREVIEW_DELAY_MS = 400;

export interface RosterPreviewState {
  result: RosterResult | null;
  /** Why nothing of the roster can be used. */
  problem: string;
}

const EMPTY: RosterPreviewState = { result: null, problem: "" };

export function useRosterPreview(id: string, text: string): RosterPreviewState {
  const [state, setState] = useState<RosterPreviewState>(EMPTY);
  useEffect(() => {
    if (text.trim() === "") {
      setState(EMPTY);
      return;
    }
    const abort = new AbortController();
    const timer = setTimeout(() => {
      classesApi.previewRoster(id, text, abort.signal).then(
        (result) => setState({ result, problem: "" }),
        (error: unknown) => {
          if (abort.signal.aborted) return;
          // A line that is half typed is not an error yet. Without a server, adding reports it.
          const isRoster = error instanceof ApiError && error.field("roster") !== undefined;
          setState({ result: null, problem: isRoster ? errorMessage(error) : "" });
        },
      );
    }, PREVIEW_DELAY_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [id, text]);
  return state;
}
