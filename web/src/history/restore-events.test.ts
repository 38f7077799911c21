import { describe, expect, it } from "vitest";
import type { RestoredEntry, RestoreEvent } from "../api/types";
import { applyEvent, INITIAL_STATE, outcomeSentence, planSentence, restoreLabel } from "./restore-events";

const entry = (path: string, outcome: RestoredEntry["outcome"], kind: RestoredEntry["kind"] = "file") => ({
  path,
  outcome,
  kind,
  size: 1,
});
const after = (...events: RestoreEvent[]) => events.reduce(applyEvent, INITIAL_STATE);

describe("restore events", () => {
  it("add up to a plan", () => {
    const state = after(
      { type: "comparing", entries: 9 },
      { type: "entries", entries: [entry("a", "same"), entry("s", "failed")] },
      { type: "planned", restore: null, entries: 3, bytes: 10, newer: 2 },
      {
        type: "entries",
        entries: [entry("b", "replaced"), entry("d", "created", "directory"), entry("d/x", "created")],
      },
    );
    expect(planSentence(state)).toBe("1 entry is replaced, 2 entries are added, 1 entry cannot be restored");
    expect(restoreLabel(state)).toBe("3 entries");
    expect(state.planned).toEqual({ entries: 3, bytes: 10, newer: 2 });
    expect(state.written.map(({ path }) => path)).toEqual(["b", "d", "d/x"]);
  });

  it("name a single file, and count files", () => {
    const one = after({ type: "entries", entries: [entry("src/main.rs", "replaced")] });
    expect(restoreLabel(one)).toBe("main.rs");
    const two = after({ type: "entries", entries: [entry("a", "created"), entry("b", "created")] });
    expect(restoreLabel(two)).toBe("2 files");
  });

  it("say how a restore ended", () => {
    const planned = { type: "planned", restore: "r", entries: 2, bytes: 0, newer: 0 } as const;
    const finished = { type: "finished", restore: "r", created: 2, replaced: 0, same: 0, failed: 0 } as const;
    const written = { type: "entries", entries: [entry("a", "created"), entry("b", "created")] } as const;
    const both = after(planned, { ...written, entries: [...written.entries] }, finished);
    expect(outcomeSentence(both)).toBe("Restored.");
    const cut = after(planned, { type: "entries", entries: [entry("a", "created")] });
    expect(outcomeSentence(cut)).toBe("1 of 2 restored. The rest was not started.");
    expect(cut.restore).toBe("r");
    const failed = after(planned, { type: "entries", entries: [entry("a", "failed")] }, finished);
    expect(outcomeSentence(failed)).toBe("0 of 2 restored.");
  });
});
