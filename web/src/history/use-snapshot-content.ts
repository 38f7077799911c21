// Loads a file of a snapshot: its text, or why there is none.
import { useEffect, useRef, useState } from "react";
import { snapshotsApi } from "../api/endpoints";
import { ApiError } from "../api/client";

/** The server's limit for comparing text. Larger files can only be downloaded. */
export const MAX_TEXT_BYTES = 4 * 1024 * 1024;

export type Content =
  | { type: "text"; text: string }
  /** Not text, or too large to show. `bytes` is null if the size is unknown. */
  | { type: "binary"; bytes: number | null }
  /** The path does not exist in the snapshot, or is not a file. */
  | { type: "absent" };

export interface Loaded {
  /** The snapshot of the content. */
  snapshot: string;
  path: string;
  content: Content;
}

export interface SnapshotContent {
  loaded: Loaded | null;
  loading: boolean;
  failure: unknown;
  retry: () => void;
}

/** Decodes bytes as text. Null: they are not valid UTF-8, or contain a zero byte. */
export function decodeText(bytes: Uint8Array<ArrayBuffer>): string | null {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return text.includes("\0") ? null : text;
  } catch {
    return null;
  }
}

/** Reads the body up to MAX_TEXT_BYTES. Null: it is larger. */
async function readBounded(response: Response): Promise<Uint8Array<ArrayBuffer> | null> {
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
    const response = await snapshotsApi.getContent(workspace, snapshot, path, signal);
    const bytes = await readBounded(response);
    const text = bytes && decodeText(bytes);
    return text === null ? { type: "binary", bytes: bytes?.length ?? null } : { type: "text", text };
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return { type: "absent" };
    throw error;
  }
}

/** Loads nothing while `path` is null. The previous content stays until the next one has loaded. */
export function useSnapshotContent(
  workspace: string,
  snapshot: string | null,
  path: string | null,
  bytes: number,
): SnapshotContent {
  const [loaded, setLoaded] = useState<Loaded | null>(null);
  const [loading, setLoading] = useState(false);
  const [failure, setFailure] = useState<unknown>(null);
  const [attempt, setAttempt] = useState(0);
  // If the tree knows that the file is too large, it is not read at all.
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
          if (number === latest.current) setLoaded({ snapshot: snapshot, path, content });
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
