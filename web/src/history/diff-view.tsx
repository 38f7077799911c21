// Two versions of a text: side by side, or unified where there is no space.
import { Compartment, type Extension } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { MergeView, unifiedMergeView } from "@codemirror/merge";
import { useEffect, useRef } from "react";
import { readOnlyEditor, loadLanguage } from "./read-only-editor";

interface DiffProps {
  path: string;
  before: string;
  after: string;
  /** Side by side. Otherwise unified. */
  wide: boolean;
}

/** Unchanged lines are folded, except these around a change. */
const unchanged = { margin: 3, minSize: 6 };
/** Beyond these limits a diff is computed in less detail. */
const diffConfig = { scanLimit: 2000, timeout: 500 };

export function DiffView({ path, before, after, wide }: DiffProps) {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const parent = place.current;
    if (!parent) return;
    const language = new Compartment();
    let over = false;
    const setup = (text: string, what: string) => readOnlyEditor(path, text, what, language);
    const { views, destroy } = wide
      ? sideBySide(parent, before, after, setup)
      : unified(parent, before, after, setup);
    loadLanguage(path, language, views, () => over);
    return () => {
      over = true;
      destroy();
    };
  }, [path, before, after, wide]);
  return <div ref={place} className="snapshot-text" />;
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
