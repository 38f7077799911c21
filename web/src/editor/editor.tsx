// One open file: the shared document in CodeMirror, and what to say when it cannot be had.
import { Compartment, EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { useEffect, useRef, useSyncExternalStore } from "react";
import { yCollab } from "y-codemirror.next";
import * as Y from "yjs";
import { files } from "../api/endpoints";
import type { RefusalReason } from "../api/agent";
import type { SharedDocument } from "../streams/shared-document";
import { copyText, toastError } from "../ui/toasts";
import { size } from "../ui/format";
import { commonExtensions, MAX_INSERT } from "./editor-setup";
import { indentOf, languageOf } from "./languages";
import { nameOf, shown } from "../files/paths";
import { peerCursors } from "./remote-cursors";

export interface Cursor {
  line: number;
  column: number;
  selected: number;
}

interface Props {
  workspace: string;
  path: string;
  shared: SharedDocument;
  active: boolean;
  onCursor: (cursor: Cursor) => void;
  onClose: () => void;
}

export function Editor({ workspace, path, shared, active, onCursor, onClose }: Props) {
  const view = useSyncExternalStore(shared.subscribe, () => shared.view);
  const place = useRef<HTMLDivElement>(null);
  const editor = useRef<EditorView | null>(null);
  const wasActive = useRef(active);
  const tell = useRef(onCursor);
  useEffect(() => {
    tell.current = onCursor;
    wasActive.current = active;
  });
  const { text, awareness, readOnly } = view;

  useEffect(() => {
    if (!text || !place.current) return;
    const name = nameOf(path);
    const content = text.toJSON();
    const language = new Compartment();
    const undo = new Y.UndoManager(text);
    const created = new EditorView({
      parent: place.current,
      state: EditorState.create({
        doc: content,
        extensions: [
          commonExtensions(indentOf(name, content), readOnly, `Text of ${shown(name)}`, () =>
            toastError(
              new Error(`At most ${size(MAX_INSERT)} of text at once: upload it as a file instead.`),
              "Pasting",
            ),
          ),
          // Without an awareness the binding draws no cursors: peers.ts does.
          yCollab(text, null, { undoManager: undo }),
          peerCursors(text, awareness, readOnly),
          language.of([]),
          EditorView.updateListener.of((update) => {
            if (update.selectionSet || update.docChanged || update.focusChanged)
              tell.current(cursorOf(update.state));
          }),
        ],
      }),
    });
    editor.current = created;
    let over = false;
    languageOf(name)
      ?.load()
      .then(
        (extension) => {
          if (!over) created.dispatch({ effects: language.reconfigure(extension) });
        },
        (error: unknown) => console.warn("the language cannot be loaded", error),
      );
    if (wasActive.current) {
      takeKeys(created);
      tell.current(cursorOf(created.state));
    }
    return () => {
      over = true;
      editor.current = null;
      created.destroy();
      undo.destroy();
    };
  }, [text, awareness, readOnly, path]);

  useEffect(() => {
    if (!active || !editor.current) return;
    editor.current.requestMeasure();
    takeKeys(editor.current);
    tell.current(cursorOf(editor.current.state));
  }, [active]);

  const name = shown(nameOf(path));
  return (
    <div className="editor" hidden={!active} role="tabpanel" aria-label={name} data-ready={text !== null}>
      {view.lost !== null && (
        <div className="notice editor-note" role="alert">
          The file was opened anew while the connection was away. What you had typed did not arrive.
          <button className="button" onClick={() => void copyText(view.lost ?? "", "Your text")}>
            Copy my text
          </button>
          <button className="button" onClick={() => shared.forgetLost()}>
            Dismiss
          </button>
        </div>
      )}
      {view.deleted && (
        <p className="notice editor-note" role="status">
          {name} was deleted or renamed on disk. The next edit makes it again.
        </p>
      )}
      {view.saveFailure && (
        <p className="notice bad editor-note" role="alert">
          {name} cannot be written: {view.saveFailure} It is tried again.
        </p>
      )}
      {view.refused ? (
        <div className="refused" role="alert">
          <h2>{refusals[view.refused.reason] ?? "The file cannot be opened"}</h2>
          <p className="soft">{view.refused.message}</p>
          <div className="form-actions">
            {downloadable.includes(view.refused.reason) && (
              <a className="button" href={files.downloadUrl(workspace, path)} download>
                Download
              </a>
            )}
            <button className="button" onClick={() => shared.reopen()}>
              Try again
            </button>
            <button className="button" onClick={onClose}>
              Close
            </button>
          </div>
        </div>
      ) : (
        !text && <p className="soft editor-wait">Opening {name}…</p>
      )}
      <div ref={place} className="editor-place" hidden={view.refused !== null || !text} />
    </div>
  );
}

/** A click in the tree shows a file and leaves the keys to the tree: a Delete meant for the file must not reach its text. */
function takeKeys(editor: EditorView): void {
  if (!document.activeElement?.closest("[role=tree]")) editor.focus();
}

const downloadable: readonly RefusalReason[] = ["too_large", "not_text"];

const refusals: Record<RefusalReason, string> = {
  stale: "The file has to be opened again",
  not_found: "The file is not there",
  too_large: "The file is too large for the editor",
  not_text: "The file is not text",
  not_a_file: "This is not a file",
  outside_home: "The file lies outside the home",
  permission_denied: "The file may not be read",
  bad_update: "The edits were not understood",
  too_many: "Too many files are open",
  internal: "The file cannot be opened",
};

function cursorOf(state: EditorState): Cursor {
  const { main, ranges } = state.selection;
  const line = state.doc.lineAt(main.head);
  const selected = ranges.reduce((sum, range) => sum + (range.to - range.from), 0);
  return { line: line.number, column: main.head - line.from + 1, selected };
}
