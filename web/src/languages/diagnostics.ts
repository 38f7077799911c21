// Diagnostics of language servers in the editor: marks in the text and in the gutter.
import { lintGutter, setDiagnostics, type Action, type Diagnostic as Mark } from "@codemirror/lint";
import type { Extension, Text } from "@codemirror/state";
import { ViewPlugin, type EditorView } from "@codemirror/view";
import type { Diagnostic, FileDiagnostics } from "../api/agent";
import type { FileLanguage } from "./file-language";
import { diagnosticsOf } from "./language-client";
import { rangeOf } from "./positions";

export function languageDiagnostics(file: FileLanguage): Extension {
  return [
    lintGutter(),
    ViewPlugin.define((view) => {
      let shown: readonly FileDiagnostics[] = [];
      const showChanged = () => {
        const found = diagnosticsOf(file.client.state, file.path);
        const isSame = found.length === shown.length && found.every((one, index) => one === shown[index]);
        shown = found;
        if (!isSame) showDiagnostics(view, file, found);
      };
      const stop = file.client.subscribe(showChanged);
      // The view is still being built.
      queueMicrotask(showChanged);
      return { destroy: stop };
    }),
  ];
}

function showDiagnostics(view: EditorView, file: FileLanguage, found: readonly FileDiagnostics[]): void {
  const { doc, readOnly } = view.state;
  const fix = !readOnly && file.can("code_actions") ? [fixAction(file)] : [];
  const marks = found.flatMap(({ diagnostics }) =>
    diagnostics.map((one) => ({ ...markOf(doc, one), actions: fix })),
  );
  view.dispatch(setDiagnostics(view.state, marks));
}

/** The button of a problem that shows what can be done about it. */
const fixAction = (file: FileLanguage): Action => ({
  name: "Quick fix… (Ctrl+.)",
  apply: (view, from, to) => {
    view.dispatch({ selection: { anchor: from, head: to } });
    view.focus();
    file.host()?.showActions();
  },
});

export function markOf(doc: Text, diagnostic: Diagnostic): Mark {
  const { from, to } = rangeOf(doc, diagnostic.range);
  const { severity, message, source, code } = diagnostic;
  const origin = [source, code].filter(Boolean).join(" ");
  const classes = [diagnostic.unnecessary && "cm-unnecessary", diagnostic.deprecated && "cm-deprecated"];
  return {
    from,
    to,
    severity,
    message,
    ...(origin ? { source: origin } : {}),
    markClass: classes.filter(Boolean).join(" "),
  };
}
