// The symbols of the file in front, again whenever its text has changed.
import { useEffect, useState } from "react";
import type * as Y from "yjs";
import type { DocumentSymbol } from "../api/agent";
import { findSymbols } from "./edit-actions";
import type { FileLanguage } from "./file-language";

/** How long a pause in typing is, in milliseconds. */
const TYPING_PAUSE = 500;
const TIMEOUT_MS = 20_000;

/** Null: they are not known. */
export function useOutline(
  file: FileLanguage | null,
  text: Y.Text | null,
  isWanted: boolean,
): readonly DocumentSymbol[] | null {
  const [outline, setOutline] = useState<{ file: FileLanguage; symbols: readonly DocumentSymbol[] } | null>(
    null,
  );
  const isReady = file?.can("symbols") ?? false;
  useEffect(() => {
    if (!file || !text || !isWanted || !isReady) return;
    let controller = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const load = () => {
      controller.abort();
      controller = new AbortController();
      const { signal } = controller;
      const limited = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
      findSymbols(file, () => text.toJSON(), limited).then(
        (symbols) => {
          if (symbols && !signal.aborted) setOutline({ file, symbols });
        },
        (error: unknown) => console.warn("cannot list the symbols", error),
      );
    };
    const loadSoon = () => {
      clearTimeout(timer);
      timer = setTimeout(load, TYPING_PAUSE);
    };
    load();
    text.observe(loadSoon);
    return () => {
      text.unobserve(loadSoon);
      clearTimeout(timer);
      controller.abort();
    };
  }, [file, text, isWanted, isReady]);
  return outline && outline.file === file ? outline.symbols : null;
}
