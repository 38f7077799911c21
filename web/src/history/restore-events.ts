// The events of a restore, and what they amount to. Pure.
import type { RestoredEntry, RestoreEvent } from "../api/types";

/** Entries that the dialog lists. The rest is counted. */
export const MAX_LISTED = 300;

/** What a restore does, or would do, as far as its events tell. */
export interface RestoreState {
  /** Entries compared so far. */
  compared: number;
  /** Null until the comparison is complete. */
  planned: { entries: number; bytes: number; newer: number } | null;
  /** Identifies the restore once it writes. */
  restore: string | null;
  /** How far the restore is. */
  progress: { entries: number; bytes: number; path: string };
  created: number;
  replaced: number;
  /** The first entries that are created or replaced. */
  written: readonly RestoredEntry[];
  failedCount: number;
  /** The first entries that cannot be restored. */
  failed: readonly RestoredEntry[];
  isFinished: boolean;
}

export const INITIAL_STATE: RestoreState = {
  compared: 0,
  planned: null,
  restore: null,
  progress: { entries: 0, bytes: 0, path: "" },
  created: 0,
  replaced: 0,
  written: [],
  failedCount: 0,
  failed: [],
  isFinished: false,
};

/** The state after an event. A `failed` event changes nothing: the caller shows its problem. */
export function applyEvent(state: RestoreState, event: RestoreEvent): RestoreState {
  switch (event.type) {
    case "comparing":
      return { ...state, compared: event.entries };
    case "planned": {
      const { entries, bytes, newer, restore } = event;
      return { ...state, planned: { entries, bytes, newer }, restore: restore ?? null };
    }
    case "progress": {
      const { entries, bytes, path } = event;
      return { ...state, progress: { entries, bytes, path } };
    }
    case "entries": {
      const of = (...outcomes: RestoredEntry["outcome"][]) =>
        event.entries.filter((entry) => outcomes.includes(entry.outcome));
      const failed = of("failed");
      return {
        ...state,
        created: state.created + of("created").length,
        replaced: state.replaced + of("replaced").length,
        written: [...state.written, ...of("created", "replaced")].slice(0, MAX_LISTED),
        failedCount: state.failedCount + failed.length,
        failed: [...state.failed, ...failed].slice(0, MAX_LISTED),
      };
    }
    case "finished":
      return { ...state, isFinished: true };
    case "failed":
      return state;
  }
}

const counted = (count: number, one: string, many: string) =>
  `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/** "1 entry is replaced, 2 entries are added" */
export function planSentence({ created, replaced, failedCount }: RestoreState): string {
  const facts = [
    replaced > 0 && `${counted(replaced, "entry is", "entries are")} replaced`,
    created > 0 && `${counted(created, "entry is", "entries are")} added`,
    failedCount > 0 && `${counted(failedCount, "entry", "entries")} cannot be restored`,
  ];
  return facts.filter((fact) => fact !== false).join(", ");
}

/** What the button restores: a name, or a number. */
export function restoreLabel({ created, replaced, written }: RestoreState): string {
  const [only] = written;
  if (created + replaced === 1 && only) return only.path.split("/").at(-1) ?? only.path;
  const areFiles = written.length === created + replaced && written.every(({ kind }) => kind === "file");
  return `${(created + replaced).toLocaleString("en")} ${areFiles ? "files" : "entries"}`;
}

/** How a restore ended. */
export function outcomeSentence(state: RestoreState): string {
  const done = state.created + state.replaced;
  const all = state.planned?.entries ?? done;
  if (state.isFinished && state.failedCount === 0) return "Restored.";
  const rest = state.isFinished ? "" : " The rest was not started.";
  return `${done.toLocaleString("en")} of ${all.toLocaleString("en")} restored.${rest}`;
}
