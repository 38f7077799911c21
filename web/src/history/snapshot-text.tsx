// The text of a file in a snapshot, read-only.
import { Compartment } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { useEffect, useRef } from "react";
import { readOnlyEditor, loadLanguage } from "./read-only-editor";

export function SnapshotText({ path, text }: { path: string; text: string }) {
  const place = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const first = useRef(text);
  useEffect(() => {
    if (!place.current) return;
    const language = new Compartment();
    let over = false;
    const created = new EditorView({
      parent: place.current,
      doc: first.current,
      extensions: readOnlyEditor(path, first.current, "snapshot", language),
    });
    view.current = created;
    loadLanguage(path, language, [created], () => over);
    return () => {
      over = true;
      view.current = null;
      created.destroy();
    };
  }, [path]);
  // Another snapshot of the same file: replace the text and keep the scroll position.
  useEffect(() => {
    first.current = text;
    const shown = view.current;
    if (!shown || shown.state.doc.toString() === text) return;
    shown.dispatch({ changes: { from: 0, to: shown.state.doc.length, insert: text } });
  }, [text]);
  return <div ref={place} className="snapshot-text" />;
}
