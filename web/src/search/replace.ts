// Replacing matches in files, and undoing that. The agent edits the shared documents, so that open editors
// agree, and leaves what has changed since the search.
import { errorMessage } from "../api/client";
import { documentsApi } from "../api/endpoints";
import { displayName } from "../files/paths";
import { inverseEdits, replacementEdits, type FileMatches, type MatchEdit } from "./search-model";

/** What was replaced, with what undo needs. */
export interface Replaced {
  /** What the user reads. */
  summary: string;
  /** Files in which something went wrong, each with the reason. */
  failures: readonly string[];
  undo: readonly FileEdits[];
}

interface FileEdits {
  path: string;
  edits: readonly MatchEdit[];
}

/** Files that are edited at once. */
const MAX_PARALLEL = 4;

export function replaceInFiles(workspace: string, files: readonly FileMatches[]): Promise<Replaced> {
  const work = files.map(({ path, matches }) => ({ path, edits: replacementEdits(matches) }));
  return editFiles(workspace, work, "Replaced");
}

export function undoReplacement(workspace: string, { undo }: Replaced): Promise<Replaced> {
  return editFiles(workspace, undo, "Restored");
}

async function editFiles(workspace: string, files: readonly FileEdits[], verb: string): Promise<Replaced> {
  const waiting = files.filter(({ edits }) => edits.length > 0);
  const undo: FileEdits[] = [];
  const failures: string[] = [];
  let applied = 0;
  let missed = 0;
  const editNext = async (): Promise<void> => {
    const file = waiting.shift();
    if (!file) return;
    try {
      const edited = await documentsApi.edit(
        workspace,
        file.path,
        file.edits.map(({ line, column, old, new: text }) => ({ line, column, old, new: text })),
      );
      applied += file.edits.length - edited.missed.length;
      missed += edited.missed.length;
      undo.push({ path: file.path, edits: inverseEdits(file.edits, edited.missed) });
      if (edited.unsaved) failures.push(`${displayName(file.path)}: not saved yet. ${edited.unsaved}`);
    } catch (error) {
      failures.push(`${displayName(file.path)}: ${errorMessage(error)}`);
    }
    return editNext();
  };
  await Promise.all(Array.from({ length: MAX_PARALLEL }, editNext));
  return { summary: summaryOf(verb, applied, undo.length, missed), failures, undo };
}

/** "Replaced 3 matches in 2 files. 1 match had changed and was left." */
export function summaryOf(verb: string, applied: number, files: number, missed: number): string {
  const count = (number: number, one: string, many: string) =>
    `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
  const done = `${verb} ${count(applied, "match", "matches")} in ${count(files, "file", "files")}.`;
  if (missed === 0) return done;
  return `${done} ${count(missed, "match had changed and was", "matches had changed and were")} left.`;
}
