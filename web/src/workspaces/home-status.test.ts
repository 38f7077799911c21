import { describe, expect, it } from "vitest";
import { homeSafety, homeUsage, homeWarning, nextHomeMib } from "./home-status";

describe("home status", () => {
  const SAFE_AT = Date.parse("2026-01-01T00:00:20Z");
  const resources = { vcpus: 1, memory_mib: 1024, home_mib: 10240, scratch_mib: 4096, pids: 4096 };
  const running = { phase: "running", safe_at: "2026-01-01T00:00:20Z", resources } as const;
  it("is safe up to the time that the server reported, whatever the clock says", () => {
    for (const unreplicated_seconds of [0, 4]) {
      expect(homeSafety({ ...running, unreplicated_seconds })).toMatchObject({ at: SAFE_AT, late: false });
    }
    const late = homeSafety({ ...running, unreplicated_seconds: 31, home_notice: "throttled" });
    expect(late.late).toBe(true);
    expect(late.tooltip).toContain("slowed down");
    expect(homeSafety({ phase: "terminated", unreplicated_seconds: 0, resources }).at).toBeNull();
  });

  it("names the program that was killed for lack of memory", () => {
    const warning = (killed_program: string | null) =>
      homeWarning({ ...running, home_notice: "out_of_memory", killed_program })?.title;
    expect(warning("python3")).toBe("python3 was killed: the workspace's 1.0 GiB of memory are used up.");
    expect(warning(null)).toContain("A program was killed");
  });

  it("warns when the home is nearly full", () => {
    const GIB = 1024 ** 3;
    const home = (gib: number) =>
      homeUsage({ home_used_bytes: gib * GIB, resources: { home_mib: 10 * 1024 } } as Parameters<
        typeof homeUsage
      >[0]);
    expect(home(7.9)).toMatchObject({ level: "fine", text: "7.9 of 10.0 GiB", percent: 79 });
    expect([home(8)?.level, home(9.5)?.level, home(0.5)?.text]).toEqual([
      "warn",
      "full",
      "512 MiB of 10.0 GiB",
    ]);
    expect([nextHomeMib(512), nextHomeMib(10 * 1024)]).toEqual([1024, 20 * 1024]);
  });
});
