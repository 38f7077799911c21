// Positions of the API in CodeMirror's texts. What is beyond the end is at the end. Pure.
import type { EditorState, Text } from "@codemirror/state";
import type { LanguageQuestion, TextPosition, TextRange } from "../api/agent";
import type { PresentQuestion } from "./language-client";
import { textVersion } from "./text-version";

export function positionOf(doc: Text, offset: number): TextPosition {
  const line = doc.lineAt(offset);
  return { line: line.number, column: offset - line.from };
}

export function offsetOf(doc: Text, { line, column }: TextPosition): number {
  if (line > doc.lines) return doc.length;
  const found = doc.line(Math.max(1, line));
  return Math.min(found.from + column, found.to);
}

export function rangeOf(doc: Text, { start, end }: TextRange): { from: number; to: number } {
  const from = offsetOf(doc, start);
  return { from, to: Math.max(from, offsetOf(doc, end)) };
}

export const presentText = (state: EditorState, question: LanguageQuestion): PresentQuestion => ({
  version: textVersion(state.doc.toString()),
  question,
});
