import { describe, expect, it } from "vitest";
import { keptName } from "./restore-plan";
import { textOf } from "./use-content";

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

describe("past contents", () => {
  it("are text if every byte says so", () => {
    const bytes = (...all: number[]) => new Uint8Array(all);
    expect(textOf(new TextEncoder().encode("grün\r\n"))).toBe("grün\r\n");
    expect(textOf(bytes())).toBe("");
    expect([textOf(bytes(0x61, 0)), textOf(bytes(0xff, 0xfe))]).toEqual([null, null]);
  });
});
