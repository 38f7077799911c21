// What users read about edits of several files. Pure.
import type { AppliedEdits } from "../api/agent";
import { displayName, nameOf } from "../files/paths";

/** Files that are named. More are counted. */
const MAX_NAMED = 3;

/** "Renamed 3 places in main.py and shapes.py." */
export function summaryOf(verb: string, { files }: Pick<AppliedEdits, "files">): string {
  const places = files.reduce((sum, { edits }) => sum + edits, 0);
  const counted = `${places.toLocaleString("en")} ${places === 1 ? "place" : "places"}`;
  return `${verb} ${counted} in ${listOf(files.map(({ path }) => path))}.`;
}

/** Which files were left as they are or are not saved, and why. Null: none. */
export function failureOf({ failures = [] }: Pick<AppliedEdits, "failures">): string | null {
  if (failures.length === 0) return null;
  const shown = failures.slice(0, MAX_NAMED).map(({ path, message }) => `${displayName(path)}: ${message}`);
  const more = failures.length - shown.length;
  return [...shown, ...(more > 0 ? [`And ${more.toLocaleString("en")} more.`] : [])].join(" ");
}

function listOf(paths: readonly string[]): string {
  if (paths.length > MAX_NAMED) return `${paths.length.toLocaleString("en")} files`;
  const names = paths.map((path) => displayName(nameOf(path)));
  const last = names.pop() ?? "no file";
  return names.length > 0 ? `${names.join(", ")} and ${last}` : last;
}
