// What users ask a language server about the editor in front: references, a new name, code actions, a format.
import { indentUnit } from "@codemirror/language";
import type { EditorState } from "@codemirror/state";
import type { EditorView } from "@codemirror/view";
import type {
  CodeAction,
  DocumentSymbol,
  LanguageAnswer,
  LanguageQuestion,
  RangeEdit,
  TextLocation,
  TextPosition,
  TextRange,
} from "../api/agent";
import type { FileLanguage } from "./file-language";
import { positionOf, presentText, rangeOf } from "./positions";
import { textVersion } from "./text-version";

const TIMEOUT_MS = 25_000;

/** The text that an answer is about. */
export const versionOf = (state: EditorState): string => textVersion(state.doc.toString());

/** Asks about the text as it is now. An answer about another text is none. */
async function request(
  file: FileLanguage,
  view: EditorView,
  question: LanguageQuestion,
): Promise<LanguageAnswer | null> {
  const { state } = view;
  const present = () => (view.state.doc === state.doc ? presentText(state, question) : null);
  const answer = await file.client.request(file.path, present, AbortSignal.timeout(TIMEOUT_MS));
  if (view.state.doc !== state.doc) throw new Error("The text has changed. Try again.");
  return answer;
}

const cursorOf = (state: EditorState): TextPosition => positionOf(state.doc, state.selection.main.head);

export async function findReferences(
  file: FileLanguage,
  view: EditorView,
): Promise<{ name: string; locations: readonly TextLocation[] }> {
  const { state } = view;
  const word = state.wordAt(state.selection.main.head);
  const answer = await request(file, view, { type: "references", position: cursorOf(state) });
  const locations = answer?.type === "locations" ? answer.locations : [];
  return { name: word ? state.sliceDoc(word.from, word.to) : "this place", locations };
}

export interface RenameTarget {
  name: string;
  position: TextPosition;
  version: string;
}

/** What would be renamed at the cursor. */
export async function findRenameTarget(file: FileLanguage, view: EditorView): Promise<RenameTarget | null> {
  const position = cursorOf(view.state);
  const answer = await request(file, view, { type: "rename_target", position });
  if (answer?.type !== "rename_target" || answer.name === "") return null;
  return { name: answer.name, position, version: versionOf(view.state) };
}

export async function findActions(
  file: FileLanguage,
  view: EditorView,
  only: string | null = null,
): Promise<readonly CodeAction[]> {
  const { doc, selection } = view.state;
  const { from, to } = only === null ? selection.main : { from: 0, to: doc.length };
  const range: TextRange = { start: positionOf(doc, from), end: positionOf(doc, to) };
  const answer = await request(file, view, { type: "code_actions", range, only });
  return answer?.type === "code_actions" ? answer.actions : [];
}

/** Formats the text. Returns false if the server cannot. */
export async function formatText(file: FileLanguage, view: EditorView): Promise<boolean> {
  if (!file.can("format")) return false;
  const { state } = view;
  const indent = state.facet(indentUnit);
  const isTab = indent.startsWith("\t");
  const answer = await request(file, view, {
    type: "format",
    tab_size: isTab ? state.tabSize : indent.length,
    insert_spaces: !isTab,
  });
  if (answer?.type !== "edits") return false;
  applyEdits(view, answer.edits);
  return true;
}

/** Makes edits of the present text, as one change that can be undone. */
export function applyEdits(view: EditorView, edits: readonly RangeEdit[]): void {
  const { doc } = view.state;
  const changes = edits.map(({ range, text }) => ({ ...rangeOf(doc, range), insert: text }));
  if (changes.length > 0) view.dispatch({ changes, userEvent: "input.format" });
}

export async function findSymbols(
  file: FileLanguage,
  text: () => string,
  signal: AbortSignal,
): Promise<readonly DocumentSymbol[] | null> {
  const present = () => ({ version: textVersion(text()), question: { type: "symbols" } as const });
  const answer = await file.ask(present, signal);
  return answer?.type === "symbols" ? answer.symbols : null;
}
