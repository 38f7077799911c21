// What the read-only editors of the history page share.
import { Compartment, EditorState, type Extension } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { readOnlyExtensions } from "../editor/editor-setup";
import { indentOf, languageOf } from "../editor/languages";
import { nameOf, displayName } from "../files/paths";

export function readOnlyEditor(path: string, text: string, what: string, language: Compartment): Extension {
  return [
    readOnlyExtensions(indentOf(nameOf(path), text), `${displayName(nameOf(path))}, ${what}`),
    EditorState.readOnly.of(true),
    language.of([]),
  ];
}

/**
 * Adds syntax highlighting to the views once the language has loaded, unless `over` reports that
 * they are destroyed.
 */
export function loadLanguage(
  path: string,
  language: Compartment,
  views: EditorView[],
  over: () => boolean,
): void {
  languageOf(nameOf(path))
    ?.load()
    .then(
      (extension) => {
        if (over()) return;
        for (const view of views) view.dispatch({ effects: language.reconfigure(extension) });
      },
      (error: unknown) => console.warn("cannot load the language", error),
    );
}
