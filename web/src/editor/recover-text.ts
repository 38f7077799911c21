// Brings text that was typed in an earlier document into the one that is open.
import type * as Y from "yjs";
import type { UnsavedText } from "../streams/unsaved-text";
import { mergeChanges, type TextChange } from "./merge-text";

/** How long the smallest difference is searched for. */
const DIFF_TIMEOUT_MS = 1000;

/** Returns whether the text was merged. If not, nothing was changed: it contradicts the file. */
export async function mergeUnsavedText(text: Y.Text, { base, text: mine }: UnsavedText): Promise<boolean> {
  // Most files have no unsaved text, so the code is loaded when it is needed.
  const { diff } = await import("@codemirror/merge");
  const findChanges = (before: string, after: string): TextChange[] =>
    diff(before, after, { timeout: DIFF_TIMEOUT_MS }).map(({ fromA, toA, fromB, toB }) => ({
      from: fromA,
      to: toA,
      insert: after.slice(fromB, toB),
    }));
  const changes = mergeChanges(base, mine, text.toJSON(), findChanges);
  if (!changes) return false;
  text.doc?.transact(() => {
    for (const { from, to, insert } of changes.toReversed()) {
      text.delete(from, to - from);
      text.insert(from, insert);
    }
  });
  return true;
}
