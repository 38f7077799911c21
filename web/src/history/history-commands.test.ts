import { describe, expect, it, vi } from "vitest";
import { historyCommands, reasonsOf, snapshotMenu, type HistoryActions } from "./history-commands";

const actions = new Proxy<Record<string, () => void>>(
  {},
  {
    get: (known, name: string) => (known[name] ??= vi.fn()),
  },
) as unknown as HistoryActions;

describe("history commands", () => {
  it("explain why they are disabled", () => {
    expect(reasonsOf({ access: "read", phase: "running" }, false).create).toContain("read-only");
    expect(reasonsOf({ access: "write", phase: "running" }, true).create).toContain("being created");
    const running = reasonsOf({ access: "write", phase: "running" }, false);
    expect([running.restoreHome.slice(0, 4), running.restoreFiles]).toEqual(["Stop", ""]);
    const stopped = reasonsOf({ access: "write", phase: "terminated" }, false);
    expect([stopped.restoreHome, stopped.restoreFiles.slice(0, 5)]).toEqual(["", "Start"]);
  });

  it("are in the palette only if enabled", () => {
    const reasons = reasonsOf({ access: "write", phase: "running" }, false);
    const menu = snapshotMenu(actions, { reasons, at: 0, isPinned: false });
    const labels = historyCommands(actions, menu, false).map(({ label }) => label);
    expect(labels).toContain("Create snapshot");
    expect(labels).not.toContain("Restore home…");
    expect(labels).not.toContain("Close file");
  });
});
