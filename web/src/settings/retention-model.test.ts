import { describe, expect, it } from "vitest";
import {
  defaults,
  inputsOf,
  MAX_HOURS,
  keptSnapshots,
  parseInputs,
  shortenedSteps,
  formatHours,
  inputOf,
} from "./retention-model";

describe("retention policy", () => {
  it("round-trips through the form", () => {
    expect([1, 24, 36, 8760, 720].map((hours) => inputOf(hours))).toEqual([
      { count: "1", unit: "hours" },
      { count: "1", unit: "days" },
      { count: "36", unit: "hours" },
      { count: "1", unit: "years" },
      { count: "30", unit: "days" },
    ]);
    expect(parseInputs(inputsOf(defaults))).toEqual({ policy: defaults, errors: {} });
    expect([1, 36, 720].map(formatHours)).toEqual(["1 hour", "36 hours", "30 days"]);
  });

  it("reports an error for each invalid step", () => {
    const typed = (count: string) => ({
      ...inputsOf(defaults),
      hourly_hours: { count, unit: "hours" as const },
    });
    for (const [count, words] of [
      ["", "whole"],
      ["1.5", "whole"],
      ["-1", "whole"],
      ["2", "shorter"],
      [String(MAX_HOURS + 1), "ten years"],
    ] as const)
      expect(parseInputs(typed(count)).errors.hourly_hours, count).toContain(words);
    expect(parseInputs(inputsOf({ ...defaults, all_hours: 0 })).errors.all_hours).toContain("one hour");
    expect(
      parseInputs(inputsOf({ all_hours: 1, minutely_hours: 1, hourly_hours: 1, daily_hours: 1 })).policy,
    ).not.toBeNull();
  });

  it("counts the snapshots of each step", () => {
    expect([0, 1, 2, 3].map((index) => keptSnapshots(defaults, index))).toEqual([null, 23 * 60, 696, 335]);
    expect(shortenedSteps(defaults, { ...defaults, daily_hours: 800 }).map(({ key }) => key)).toEqual([
      "daily_hours",
    ]);
  });
});
