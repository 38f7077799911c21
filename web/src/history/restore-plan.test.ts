import { describe, expect, it } from "vitest";
import type { Entry } from "../api/agent";
import type { PastEntry } from "../api/types";
import { deedOf, keptName, planOf } from "./restore-plan";
import { textOf } from "./use-snapshot-content";

describe("restoring a file", () => {
  const now = new Date(2025, 2, 12, 4, 3, 2);
  it("keeps what is there under a name that says why", () => {
    expect(keptName("src/main.rs", now)).toBe("src/main.rs.before-restore-20250312-040302");
    expect(keptName("notes", now)).toBe("notes.before-restore-20250312-040302");
  });

  it("keeps to the length that a name may have, between letters", () => {
    const kept = keptName(`a/${"ü".repeat(127)}`, now).slice(2);
    expect(new TextEncoder().encode(kept).length).toBeLessThanOrEqual(255);
    expect(kept).toMatch(/^ü+\.before-restore-/);
  });
});

describe("what bringing back would do", () => {
  const past = (kind: PastEntry["kind"], more: Partial<PastEntry> = {}): PastEntry => ({
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

  it("is decided by what is there", () => {
    for (const [was, is, meets] of [
      [past("file"), undefined, "nothing"],
      [past("file"), present("file"), "file"],
      // A tree is never thrown away for a file.
      [past("file"), present("directory"), "other"],
      [past("file"), present("symlink", "y"), "other"],
      [past("directory"), undefined, "nothing"],
      [past("directory"), present("directory"), null],
      [past("directory"), present("symlink", "/"), "other"],
      [past("symlink", { target: "y" }), present("symlink", "y"), null],
      [past("symlink", { target: "y" }), present("symlink", "z"), "other"],
    ] as const) {
      const deed = deedOf("x", was, is);
      expect(deed && "meets" in deed ? deed.meets : deed, `${was.kind} ${is?.kind}`).toBe(meets);
    }
    expect(deedOf("x", past("file"), present("file"))).toMatchObject({ etag: "tag", mode: 0o600 });
  });

  it("leaves out what cannot be written, and says why", () => {
    expect(deedOf("x", past("other"), undefined)).toMatchObject({
      reason: expect.stringMatching(/socket/) as string,
    });
    expect(deedOf("x", past("file", { utf8: false }), undefined)).toMatchObject({
      reason: expect.stringMatching(/UTF-8/) as string,
    });
    expect(deedOf("x", past("file", { size: 2 ** 31 }), undefined)).toMatchObject({
      reason: expect.stringMatching(/^Too large: 2.0 GiB/) as string,
    });
  });

  it("makes a folder before what is in it", () => {
    const deed = (path: string) => deedOf(path, past("file"), undefined);
    const plan = planOf(
      [deed("a/b"), deed("a.b"), null, deed("a"), deedOf("s", past("other"), undefined)],
      2,
    );
    expect(plan.deeds.map(({ path }) => path)).toEqual(["a", "a/b", "a.b"]);
    expect([plan.refused.length, plan.since]).toEqual([1, 2]);
  });
});

describe("past contents", () => {
  it("are text if every byte says so", () => {
    const bytes = (...all: number[]) => new Uint8Array(all);
    expect(textOf(new TextEncoder().encode("grün\r\n"))).toBe("grün\r\n");
    expect(textOf(bytes())).toBe("");
    expect([textOf(bytes(0x61, 0)), textOf(bytes(0xff, 0xfe))]).toEqual([null, null]);
  });
});
