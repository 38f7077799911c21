import { describe, expect, it } from "vitest";
import type { Entry } from "../api/agent";
import type { SnapshotEntry } from "../api/types";
import { planPath, keptName, planOf } from "./restore-plan";

describe("keptName", () => {
  const now = new Date(2025, 2, 12, 4, 3, 2);
  it("adds a suffix with the time", () => {
    expect(keptName("src/main.rs", now)).toBe("src/main.rs.before-restore-20250312-040302");
    expect(keptName("notes", now)).toBe("notes.before-restore-20250312-040302");
  });

  it("shortens a long name between characters", () => {
    const kept = keptName(`a/${"ü".repeat(127)}`, now).slice(2);
    expect(new TextEncoder().encode(kept).length).toBeLessThanOrEqual(255);
    expect(kept).toMatch(/^ü+\.before-restore-/);
  });
});

describe("restore plan", () => {
  const past = (kind: SnapshotEntry["kind"], more: Partial<SnapshotEntry> = {}): SnapshotEntry => ({
    name: "x",
    utf8: true,
    kind,
    size: 3,
    modified_ms: 0,
    mode: 0o644,
    target: null,
    ...more,
  });
  const present = (kind: Entry["kind"], target?: string): Entry => ({
    name: "x",
    utf8: true,
    kind,
    size: 4,
    modified: 0,
    mode: 0o600,
    target: target ?? null,
    etag: kind === "file" ? "tag" : null,
  });

  it("depends on the current entry", () => {
    for (const [was, is, meets] of [
      [past("file"), undefined, "nothing"],
      [past("file"), present("file"), "file"],
      // A directory is never overwritten by a file.
      [past("file"), present("directory"), "other"],
      [past("file"), present("symlink", "y"), "other"],
      [past("directory"), undefined, "nothing"],
      [past("directory"), present("directory"), null],
      [past("directory"), present("symlink", "/"), "other"],
      [past("symlink", { target: "y" }), present("symlink", "y"), null],
      [past("symlink", { target: "y" }), present("symlink", "z"), "other"],
    ] as const) {
      const planned = planPath("x", was, is);
      expect(planned && "replaces" in planned ? planned.replaces : planned, `${was.kind} ${is?.kind}`).toBe(
        meets,
      );
    }
    expect(planPath("x", past("file"), present("file"))).toMatchObject({ etag: "tag", mode: 0o600 });
  });

  it("skips what cannot be written, with a reason", () => {
    expect(planPath("x", past("other"), undefined)).toMatchObject({
      reason: expect.stringMatching(/Sockets/) as string,
    });
    expect(planPath("x", past("file", { utf8: false }), undefined)).toMatchObject({
      reason: expect.stringMatching(/UTF-8/) as string,
    });
    expect(planPath("x", past("file", { size: 2 ** 31 }), undefined)).toMatchObject({
      reason: expect.stringMatching(/^Too large: 2.0 GiB/) as string,
    });
  });

  it("sorts a folder before its content", () => {
    const planned = (path: string) => planPath(path, past("file"), undefined);
    const plan = planOf(
      [planned("a/b"), planned("a.b"), null, planned("a"), planPath("s", past("other"), undefined)],
      2,
    );
    expect(plan.actions.map(({ path }) => path)).toEqual(["a", "a/b", "a.b"]);
    expect([plan.skipped.length, plan.newerCount]).toEqual([1, 2]);
  });
});
