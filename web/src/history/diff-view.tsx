// A past text in the editor, and two texts beside each other. Both are for reading.
import { Compartment, type Extension } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { MergeView, unifiedMergeView } from "@codemirror/merge";
import { useEffect, useRef } from "react";
import { extensionsOf, colour } from "./read-only-editor";

interface DifferenceProps {
  path: string;
  before: string;
  after: string;
  /** Side by side, or one below the other where there is no room. */
  wide: boolean;
}

/** Lines that did not change, beyond these around a change, are folded. */
const unchanged = { margin: 3, minSize: 6 };
/** A difference that takes longer is told in less detail. */
const diffConfig = { scanLimit: 2000, timeout: 500 };

export function Difference({ path, before, after, wide }: DifferenceProps) {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const parent = place.current;
    if (!parent) return;
    const language = new Compartment();
    let over = false;
    const setup = (text: string, what: string) => extensionsOf(path, text, what, language);
    const { views, destroy } = wide
      ? sideBySide(parent, before, after, setup)
      : unified(parent, before, after, setup);
    colour(path, language, views, () => over);
    return () => {
      over = true;
      destroy();
    };
  }, [path, before, after, wide]);
  return <div ref={place} className="past-text" />;
}

type Setup = (text: string, what: string) => Extension;
interface Shown {
  views: EditorView[];
  destroy: () => void;
}

function sideBySide(parent: HTMLElement, before: string, after: string, setup: Setup): Shown {
  const merge = new MergeView({
    parent,
    a: { doc: before, extensions: setup(before, "before") },
    b: { doc: after, extensions: setup(after, "after") },
    collapseUnchanged: unchanged,
    diffConfig,
  });
  return { views: [merge.a, merge.b], destroy: () => merge.destroy() };
}

function unified(parent: HTMLElement, before: string, after: string, setup: Setup): Shown {
  const view = new EditorView({
    parent,
    doc: after,
    extensions: [
      setup(after, "before and after"),
      unifiedMergeView({
        original: before,
        mergeControls: false,
        collapseUnchanged: unchanged,
        diffConfig,
      }),
    ],
  });
  return { views: [view], destroy: () => view.destroy() };
}
