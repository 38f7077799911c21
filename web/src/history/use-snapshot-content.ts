// The text of a file as it was, or what else there is to say of it.
import { useEffect, useRef, useState } from "react";
import { snapshots } from "../api/endpoints";
import { ApiError } from "../api/client";

/** As the server compares them: a larger one is for downloading. */
export const MAX_TEXT_BYTES = 4 * 1024 * 1024;

export type Content =
  | { type: "text"; text: string }
  /** Or too large to be shown as text: then its size may not be known. */
  | { type: "binary"; bytes: number | null }
  /** It has another kind, or was not there. */
  | { type: "absent" };

export interface Loaded {
  /** Which snapshot the content is of. */
  of: string;
  path: string;
  content: Content;
}

export interface PastContent {
  loaded: Loaded | null;
  loading: boolean;
  failure: unknown;
  retry: () => void;
}

/** Bytes as text, if they are. */
export function textOf(bytes: Uint8Array<ArrayBuffer>): string | null {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return text.includes("\0") ? null : text;
  } catch {
    return null;
  }
}

/** The whole body, unless it is too large: then no more of it is read. */
async function firstBytes(response: Response): Promise<Uint8Array<ArrayBuffer> | null> {
  const reader = response.body?.getReader();
  if (!reader) return new Uint8Array();
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    length += value.length;
    if (length <= MAX_TEXT_BYTES) continue;
    await reader.cancel();
    return null;
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function read(
  workspace: string,
  snapshot: string,
  path: string,
  signal: AbortSignal,
): Promise<Content> {
  try {
    const response = await snapshots.content(workspace, snapshot, path, signal);
    const bytes = await firstBytes(response);
    const text = bytes && textOf(bytes);
    return text === null ? { type: "binary", bytes: bytes?.length ?? null } : { type: "text", text };
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return { type: "absent" };
    throw error;
  }
}

/** Nothing is read while `path` is none. What was read stays until the next is there. */
export function useContent(
  workspace: string,
  snapshot: string | null,
  path: string | null,
  bytes: number,
): PastContent {
  const [loaded, setLoaded] = useState<Loaded | null>(null);
  const [loading, setLoading] = useState(false);
  const [failure, setFailure] = useState<unknown>(null);
  const [attempt, setAttempt] = useState(0);
  // The tree's word that it is too large spares reading it.
  const tooLarge = bytes > MAX_TEXT_BYTES ? bytes : 0;
  const latest = useRef(0);
  useEffect(() => {
    if (snapshot === null || path === null) return;
    const controller = new AbortController();
    const number = ++latest.current;
    setLoading(true);
    setFailure(null);
    const reading = tooLarge
      ? Promise.resolve<Content>({ type: "binary", bytes: tooLarge })
      : read(workspace, snapshot, path, controller.signal);
    reading
      .then(
        (content) => {
          if (number === latest.current) setLoaded({ of: snapshot, path, content });
        },
        (error: unknown) => {
          if (number === latest.current && !controller.signal.aborted) setFailure(error);
        },
      )
      .finally(() => {
        if (number === latest.current) setLoading(false);
      });
    return () => {
      controller.abort();
      latest.current += 1;
    };
  }, [workspace, snapshot, path, tooLarge, attempt]);
  return {
    loaded: loaded?.path === path ? loaded : null,
    loading,
    failure,
    retry: () => setAttempt((attempt) => attempt + 1),
  };
}
