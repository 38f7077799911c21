// The rows of a file tree: only those in view are elements, so a folder of 20,000 entries costs no
// more than a small one.
import { useSyncExternalStore, type ReactNode, type RefObject } from "react";
import { defaultRangeExtractor, useVirtualizer } from "@tanstack/react-virtual";
import { withGaps } from "./tree-model";

/** Rows above and below the view that exist too, for quick scrolling. */
const OVERSCAN = 20;

/** One line of the tree: a row, or the name that is being typed. */
export interface TreeLine {
  key: string;
  render: () => ReactNode;
}

interface Props {
  /** The scrolling element around the lines. */
  scroller: RefObject<HTMLElement | null>;
  lines: readonly TreeLine[];
  /** Keys of lines that exist wherever the view is, because they have the focus. */
  kept: readonly string[];
}

export function TreeRows({ scroller, lines, kept }: Props) {
  const rowHeight = useSyncExternalStore(listenToPointer, readRowHeight);
  const keptIndexes = lines.flatMap(({ key }, index) => (kept.includes(key) ? [index] : []));
  const virtualizer = useVirtualizer({
    count: lines.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: OVERSCAN,
    getItemKey: (index) => lines[index]?.key ?? index,
    rangeExtractor: (range) =>
      [...new Set([...defaultRangeExtractor(range), ...keptIndexes])].sort((a, b) => a - b),
  });
  const indexes = virtualizer.getVirtualItems().map(({ index }) => index);
  return withGaps(indexes, lines.length).map((part) =>
    "gap" in part ? (
      <li key={`gap before ${part.before}`} role="none" style={{ height: part.gap * rowHeight }} />
    ) : (
      lines[part.index]?.render()
    ),
  );
}

/** The stylesheet makes rows higher for fingers. */
const COARSE_POINTER = "(pointer: coarse)";
const DEFAULT_ROW_HEIGHT = 26;

function listenToPointer(listener: () => void): () => void {
  const query = window.matchMedia(COARSE_POINTER);
  query.addEventListener("change", listener);
  return () => query.removeEventListener("change", listener);
}

function readRowHeight(): number {
  const height = getComputedStyle(document.documentElement).getPropertyValue("--row");
  return parseFloat(height) || DEFAULT_ROW_HEIGHT;
}
