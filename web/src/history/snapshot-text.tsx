// The text of a file in a snapshot, read-only.
import { Compartment } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { useEffect, useRef } from "react";
import { extensionsOf, colour } from "./read-only-editor";

export function PastText({ path, text }: { path: string; text: string }) {
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
      extensions: extensionsOf(path, first.current, "as it was", language),
    });
    view.current = created;
    colour(path, language, [created], () => over);
    return () => {
      over = true;
      view.current = null;
      created.destroy();
    };
  }, [path]);
  // Another instant of the same file: one stays at the line that one looks at.
  useEffect(() => {
    first.current = text;
    const shown = view.current;
    if (!shown || shown.state.doc.toString() === text) return;
    shown.dispatch({ changes: { from: 0, to: shown.state.doc.length, insert: text } });
  }, [text]);
  return <div ref={place} className="past-text" />;
}
