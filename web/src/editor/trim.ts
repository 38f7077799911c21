// Removes spaces and tabs at the ends of lines.
import type { ChangeSpec, Text } from "@codemirror/state";
import type { EditorView } from "@codemirror/view";

export function trimLineEnds(view: EditorView): void {
  const changes = lineEndsOf(view.state.doc);
  if (changes.length > 0 && !view.state.readOnly) view.dispatch({ changes, userEvent: "delete.trim" });
}

/** What to delete so that no line ends with spaces or tabs. A carriage return stays. */
export function lineEndsOf(text: Text): ChangeSpec[] {
  const changes: ChangeSpec[] = [];
  for (let number = 1; number <= text.lines; number += 1) {
    const line = text.line(number);
    const found = /[ \t]+(?=\r?$)/.exec(line.text);
    if (found) changes.push({ from: line.from + found.index, to: line.from + found.index + found[0].length });
  }
  return changes;
}
