import { describe, expect, it } from "vitest";
import { freeName } from "../workspaces/names";
import { stepLines } from "../workspaces/step-lines";
import { fullnessOf, nextHomeMib, safetyOf } from "../workspaces/home-status";
import { duration, instant, relative, size, wholeInstant } from "./format";
import { nameProblem } from "../workspaces/names";
import { toneOf } from "../workspaces/phases";

describe("words", () => {
  it("says durations, moments and sizes", () => {
    expect(duration(420)).toBe("0.4 s");
    expect(duration(12_900)).toBe("12 s");
    expect(duration(185_000)).toBe("3 min 05 s");
    expect(duration(-5)).toBe("0.0 s");
    expect(relative("2026-01-01T00:00:00Z", Date.parse("2026-01-01T00:05:30Z"))).toBe("5 minutes ago");
    expect(relative("2026-01-04T00:00:00Z", Date.parse("2026-01-01T00:00:00Z"))).toBe("in 3 days");
    expect(size(512)).toBe("512 B");
    expect(size(2048)).toBe("2.0 KiB");
    expect(size(200 * 1024 * 1024)).toBe("200 MiB");
  });

  it("says instants as short as they are clear", () => {
    const at = (text: string) => new Date(text).getTime(); // the wall's clock, wherever the test runs
    const now = at("2025-03-12T18:00:00");
    expect(instant(at("2025-03-12T14:03:22"), now)).toBe("14:03:22");
    expect(instant(at("2025-03-11T14:03:22"), now)).toBe("11 Mar, 14:03");
    expect(instant(at("2024-03-11T14:03:22"), now)).toBe("11 Mar 2024");
    expect(wholeInstant(now)).toBe("Wed, 12 Mar 2025, 18:00:00");
  });

  it("takes the names that the server takes", () => {
    for (const good of ["a", "algo-2", "0", "a".repeat(63)]) expect(nameProblem(good)).toBe("");
    for (const bad of ["", "-a", "a-", "A", "a b", "ü", "a".repeat(64)])
      expect(nameProblem(bad)).not.toBe("");
  });

  it("finds a free name", () => {
    expect(freeName("base", new Set())).toBe("base");
    expect(freeName("base", new Set(["base", "base-2"]))).toBe("base-3");
  });

  it("shows a failed rest as bad", () => {
    const failure = { step: "boot", cause: "", action: "" } as const;
    expect(toneOf({ phase: "terminated", failure })).toBe("bad");
    expect(toneOf({ phase: "terminated" })).toBe("rest");
    expect(toneOf({ phase: "provisioning", failure })).toBe("busy");
  });
});

describe("homes", () => {
  const NOW = Date.parse("2026-01-01T00:01:00Z");
  const running = { phase: "running", safe_at: "2026-01-01T00:00:20Z" } as const;
  it("are safe up to now, or up to the last snapshot", () => {
    expect(safetyOf({ ...running, unreplicated_seconds: 0 }, NOW)).toMatchObject({ at: NOW, late: false });
    const writing = safetyOf({ ...running, unreplicated_seconds: 4 }, NOW);
    expect(writing).toMatchObject({ at: NOW - 40_000, ticking: false, late: false });
    const late = safetyOf({ ...running, unreplicated_seconds: 31, home_notice: "throttled" }, NOW);
    expect(late.late).toBe(true);
    expect(late.about).toContain("slowed down");
    expect(safetyOf({ phase: "terminated", unreplicated_seconds: 0 }, NOW).at).toBeNull();
  });

  it("say when they are nearly full", () => {
    const GIB = 1024 ** 3;
    const home = (gib: number) =>
      fullnessOf({ home_used_bytes: gib * GIB, resources: { home_mib: 10 * 1024 } } as Parameters<
        typeof fullnessOf
      >[0]);
    expect(home(7.9)).toMatchObject({ level: "fine", words: "7.9 of 10.0 GiB", percent: 79 });
    expect([home(8)?.level, home(9.5)?.level, home(0.5)?.words]).toEqual([
      "warn",
      "full",
      "512 MiB of 10.0 GiB",
    ]);
    expect([nextHomeMib(512), nextHomeMib(10 * 1024)]).toEqual([1024, 20 * 1024]);
  });
});

describe("steps", () => {
  const since = (second: number) => `2026-01-01T00:00:0${second}Z`;

  it("shows what was, what is and what will be", () => {
    const lines = stepLines({
      phase: "provisioning",
      steps: [
        { step: "queue", since: since(0) },
        { step: "sandbox", since: since(1) },
      ],
    });
    expect(lines.map((line) => [line.step, line.state])).toEqual([
      ["queue", "done"],
      ["sandbox", "now"],
      ["boot", "ahead"],
      ["home", "ahead"],
    ]);
    expect(lines[0]?.until).toBe(since(1));
  });

  it("ends with the failed step", () => {
    const lines = stepLines({
      phase: "terminated",
      failure: { step: "boot", cause: "", action: "" },
      steps: [
        { step: "queue", since: since(0) },
        { step: "boot", since: since(1) },
      ],
    });
    expect(lines.map((line) => line.state)).toEqual(["done", "failed"]);
    const failed = (step: "runner" | "ready") =>
      stepLines({ phase: "terminated", failure: { step, cause: "", action: "" }, steps: [] });
    expect(failed("runner").map((line) => line.state)).toEqual(["done", "failed"]);
    expect(failed("ready")).toEqual([]);
  });

  it("begins anew when it is tried again", () => {
    const lines = stepLines({
      phase: "provisioning",
      failure: { step: "boot", cause: "", action: "" },
      steps: [{ step: "boot", since: since(1) }],
    });
    expect(lines.map((line) => line.state)).toEqual(["now", "ahead"]);
  });
});
