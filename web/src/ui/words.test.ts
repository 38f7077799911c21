import { describe, expect, it } from "vitest";
import { freeName } from "../pages/new-workspace";
import { stepLines } from "../pages/steps";
import { duration, nameProblem, relative, size, toneOf } from "./words";

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

describe("steps", () => {
  const since = (second: number) => `2026-01-01T00:00:0${second}Z`;

  it("shows what was, what is and what will be", () => {
    const lines = stepLines({
      phase: "provisioning",
      steps: [
        { step: "queue", since: since(0) },
        { step: "machine", since: since(1) },
      ],
    });
    expect(lines.map((line) => [line.step, line.state])).toEqual([
      ["queue", "done"],
      ["machine", "now"],
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
  });
});
