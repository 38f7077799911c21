// The keys of language servers, as in VS Code, and the way from a name to its definition: F12, and a click
// with Ctrl. Alt adds cursors instead.
import { Prec, type Extension } from "@codemirror/state";
import { EditorView, keymap, type KeyBinding } from "@codemirror/view";
import type { FileLanguage, LanguageHost } from "./file-language";
import { positionOf, presentText } from "./positions";

const TIMEOUT_MS = 15_000;

export function languageNavigation(file: FileLanguage): Extension {
  const key = (key: string, run: (host: LanguageHost) => void): KeyBinding => ({
    key,
    preventDefault: true,
    run: () => {
      const host = file.host();
      if (host) run(host);
      return true;
    },
  });
  return [
    keymap.of([
      key("Shift-F12", (host) => host.findReferences()),
      key("F2", (host) => host.renameSymbol()),
      key("Mod-.", (host) => host.showActions()),
      key("Shift-Alt-o", (host) => host.organizeImports()),
      key("Shift-Alt-f", (host) => host.formatDocument()),
      {
        key: "F12",
        preventDefault: true,
        run: (view) => {
          void goToDefinition(file, view, view.state.selection.main.head);
          return true;
        },
      },
    ]),
    EditorView.clickAddsSelectionRange.of((event) => event.altKey),
    Prec.highest(
      EditorView.domEventHandlers({
        mousedown: (event, view) => {
          const isJump = (event.ctrlKey || event.metaKey) && !event.altKey && event.button === 0;
          const pos = isJump ? view.posAtCoords({ x: event.clientX, y: event.clientY }) : null;
          if (pos === null) return false;
          event.preventDefault();
          void goToDefinition(file, view, pos);
          return true;
        },
      }),
    ),
  ];
}

export async function goToDefinition(file: FileLanguage, view: EditorView, pos: number): Promise<void> {
  if (!file.can("definition")) return;
  const { doc } = view.state;
  // Where the pointer was means nothing in another text.
  const present = () =>
    view.state.doc === doc
      ? presentText(view.state, { type: "definition", position: positionOf(doc, pos), of: "definition" })
      : null;
  const answer = await file.ask(present, AbortSignal.timeout(TIMEOUT_MS));
  if (answer?.type === "locations") file.host()?.showLocations(answer.locations);
}
