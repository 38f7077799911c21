// One open file: a shared document in CodeMirror, or the reason why it cannot be opened.
import { Compartment, EditorState, type StateEffect } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { useEffect, useMemo, useRef, useSyncExternalStore } from "react";
import { yCollab } from "y-codemirror.next";
import * as Y from "yjs";
import { filesApi } from "../api/endpoints";
import type { RefusalReason } from "../api/agent";
import type { SharedDocument } from "../streams/shared-document";
import { currentPreferences, usePreferences } from "../ui/preferences";
import { toastError } from "../ui/toasts";
import { formatBytes } from "../ui/format";
import { editorMarks } from "../git/editor-marks";
import { EditorNotices } from "./editor-notices";
import { FileView } from "./file-view";
import { editingExtensions, MAX_PASTE_CHARACTERS, preferredExtensions } from "./editor-setup";
import { indentOf, languageOf } from "./languages";
import { nameOf, displayName } from "../files/paths";
import type { FileLanguage } from "../languages/file-language";
import { remoteCursors } from "./remote-cursors";
import { claimReveal, type Reveal } from "./reveal";

export interface Cursor {
  line: number;
  column: number;
  selected: number;
}

/** Where a user was in the text, as offsets. */
interface Place {
  anchor: number;
  head: number;
}

interface Props {
  workspace: string;
  path: string;
  shared: SharedDocument;
  /** Whether it is in front in its group. */
  active: boolean;
  /** Whether it takes the keyboard when it comes to the front. */
  focused: boolean;
  reveal: Reveal | null;
  /** The language server of the file. */
  language: FileLanguage;
  onCursor: (cursor: Cursor) => void;
  /** The user has changed the text. */
  onEdit: () => void;
  /** The editor of the text, or null when it is gone. */
  onView: (view: EditorView | null) => void;
  onClose: () => void;
}

export function Editor(props: Props) {
  const { workspace, path, shared, active, focused, reveal, onCursor, onEdit, onView, onClose } = props;
  const server = useRef(props.language);
  const view = useSyncExternalStore(shared.subscribe, () => shared.state);
  const place = useRef<HTMLDivElement>(null);
  const editor = useRef<EditorView | null>(null);
  const takesKeys = useRef(active && focused);
  const wasInFront = useRef(false);
  const preferred = useRef(new Compartment());
  const { wordWrap, tabWidth, showWhitespace } = usePreferences();
  const preferences = useMemo(
    () => preferredExtensions({ wordWrap, tabWidth, showWhitespace }),
    [wordWrap, tabWidth, showWhitespace],
  );
  const lastPreferences = useRef(preferences);
  const pendingReveal = useRef<Reveal | null>(null);
  /** Kept while a document begins again, for example because the workspace was restarted. */
  const lastPlace = useRef<Place | null>(null);
  /** Recorded while the text is visible: a hidden element has no scroll position. */
  const lastScroll = useRef<StateEffect<unknown>>(undefined);
  const report = useRef({ onCursor, onEdit, onView });
  useEffect(() => {
    report.current = { onCursor, onEdit, onView };
    takesKeys.current = active && focused;
    lastPreferences.current = preferences;
  });
  const { text, awareness, readOnly } = view;

  useEffect(() => {
    if (!text || !place.current) return;
    const name = nameOf(path);
    const content = text.toJSON();
    const indent = indentOf(name, content, currentPreferences().tabWidth);
    const language = new Compartment();
    const features = new Compartment();
    const undo = new Y.UndoManager(text);
    const { anchor = 0, head = 0 } = lastPlace.current ?? {};
    const created = new EditorView({
      parent: place.current,
      ...(lastScroll.current && { scrollTo: lastScroll.current }),
      state: EditorState.create({
        doc: content,
        selection: { anchor: Math.min(anchor, content.length), head: Math.min(head, content.length) },
        extensions: [
          editingExtensions(indent, readOnly, `Text of ${displayName(name)}`, () =>
            toastError(
              new Error(
                `The limit is ${formatBytes(MAX_PASTE_CHARACTERS)} of text at once. ` +
                  "Upload it as a file instead.",
              ),
              "paste",
            ),
          ),
          // Without an awareness the binding draws no cursors. remote-cursors.ts draws them.
          yCollab(text, null, { undoManager: undo }),
          remoteCursors(text, awareness, readOnly),
          editorMarks(),
          features.of([]),
          language.of([]),
          preferred.current.of(lastPreferences.current),
          EditorView.domEventHandlers({
            scroll: (_, view) => {
              lastScroll.current = view.scrollSnapshot();
            },
          }),
          EditorView.updateListener.of((update) => {
            // An editor that has just lost the keyboard says so later than the one that has got it.
            if (takesKeys.current && (update.selectionSet || update.docChanged || update.focusChanged))
              report.current.onCursor(cursorOf(update.state));
            if (
              update.transactions.some(
                (transaction) => transaction.isUserEvent("input") || transaction.isUserEvent("delete"),
              )
            )
              report.current.onEdit();
          }),
        ],
      }),
    });
    editor.current = created;
    report.current.onView(created);
    let over = false;
    languageOf(name)
      ?.load()
      .then(
        (extension) => {
          if (!over) created.dispatch({ effects: language.reconfigure(extension) });
        },
        (error: unknown) => console.warn("cannot load the language", error),
      );
    import("../languages/editor-features").then(
      ({ languageFeatures }) => {
        const extension = languageFeatures(server.current, readOnly);
        if (!over) created.dispatch({ effects: features.reconfigure(extension) });
      },
      (error: unknown) => console.warn("cannot load the language features", error),
    );
    if (takesKeys.current) {
      takeKeys(created);
      report.current.onCursor(cursorOf(created.state));
    }
    if (pendingReveal.current) showPlace(created, pendingReveal.current);
    pendingReveal.current = null;
    return () => {
      over = true;
      editor.current = null;
      report.current.onView(null);
      const { anchor, head } = created.state.selection.main;
      lastPlace.current = { anchor, head };
      created.destroy();
      undo.destroy();
    };
  }, [text, awareness, readOnly, path]);

  useEffect(() => {
    const comesToFront = active && !wasInFront.current;
    wasInFront.current = active;
    if (!active || !editor.current) return;
    editor.current.requestMeasure();
    if (!focused) return;
    // A user who has reached the group with Tab stays at its tabs.
    if (comesToFront || !isFocusInGroup(editor.current)) takeKeys(editor.current);
    report.current.onCursor(cursorOf(editor.current.state));
  }, [active, focused]);

  useEffect(() => {
    editor.current?.dispatch({ effects: preferred.current.reconfigure(preferences) });
  }, [preferences]);

  // The text may not have loaded yet: then it is shown there when it has.
  useEffect(() => {
    const claimed = claimReveal(reveal);
    if (!claimed) return;
    if (editor.current) showPlace(editor.current, claimed);
    else pendingReveal.current = claimed;
  }, [reveal]);

  const name = displayName(nameOf(path));
  return (
    <div className="editor" hidden={!active} role="tabpanel" aria-label={name} data-ready={text !== null}>
      <EditorNotices workspace={workspace} path={path} name={name} shared={shared} view={view} />
      {view.refused?.reason === "not_text" ? (
        <FileView workspace={workspace} path={path} />
      ) : view.refused ? (
        <div className="refused" role="alert">
          <h2>{refusals[view.refused.reason] ?? "Cannot open the file"}</h2>
          <p className="soft">{view.refused.message}</p>
          <div className="form-actions">
            {downloadable.includes(view.refused.reason) && (
              <a className="button" href={filesApi.downloadUrl(workspace, path)} download>
                Download
              </a>
            )}
            <button className="button" onClick={() => shared.reopen()}>
              Retry
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

/** Selects a place and scrolls it to the middle. What is beyond the end is at the end. */
function showPlace(view: EditorView, { line, column, length }: Reveal): void {
  const found = view.state.doc.line(Math.max(1, Math.min(line, view.state.doc.lines)));
  const from = Math.min(found.from + column, found.to);
  const to = Math.min(from + length, found.to);
  view.dispatch({
    selection: { anchor: from, head: to },
    effects: EditorView.scrollIntoView(from, { y: "center" }),
  });
  takeKeys(view);
}

/**
 * Focuses the editor, unless the file was opened by a click in the tree: a Delete meant for the
 * file must not reach its text.
 */
function takeKeys(editor: EditorView): void {
  if (!document.activeElement?.closest("[role=tree]")) editor.focus();
}

function isFocusInGroup(editor: EditorView): boolean {
  return Boolean(editor.dom.closest(".editor-group")?.contains(document.activeElement));
}

const downloadable: readonly RefusalReason[] = ["too_large"];

const refusals: Record<RefusalReason, string> = {
  stale: "The file must be opened again",
  not_found: "File not found",
  too_large: "The file is too large for the editor",
  not_text: "The file is not a text file",
  not_a_file: "This is not a file",
  outside_home: "The file is outside the home",
  permission_denied: "Permission denied",
  bad_update: "The editor sent an invalid edit",
  too_many: "Too many files are open",
  internal: "Cannot open the file",
};

function cursorOf(state: EditorState): Cursor {
  const { main, ranges } = state.selection;
  const line = state.doc.lineAt(main.head);
  const selected = ranges.reduce((sum, range) => sum + (range.to - range.from), 0);
  return { line: line.number, column: main.head - line.from + 1, selected };
}
