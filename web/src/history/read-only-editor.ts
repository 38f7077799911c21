// What the read-only editors of the history page share.
import { Compartment, EditorState, type Extension } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { readingExtensions } from "../editor/editor-setup";
import { indentOf, languageOf } from "../editor/languages";
import { nameOf, shown } from "../files/paths";

export function extensionsOf(path: string, text: string, what: string, language: Compartment): Extension {
  return [
    readingExtensions(indentOf(nameOf(path), text), `${shown(nameOf(path))}, ${what}`),
    EditorState.readOnly.of(true),
    language.of([]),
  ];
}

/** Colours the views once the language is there; until `over` says that they are gone. */
export function colour(path: string, language: Compartment, views: EditorView[], over: () => boolean): void {
  languageOf(nameOf(path))
    ?.load()
    .then(
      (extension) => {
        if (over()) return;
        for (const view of views) view.dispatch({ effects: language.reconfigure(extension) });
      },
      (error: unknown) => console.warn("the language cannot be loaded", error),
    );
}
