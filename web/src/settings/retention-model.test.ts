import { describe, expect, it } from "vitest";
import {
  defaults,
  formOf,
  MAX_HOURS,
  pointsOf,
  ruleOf,
  shortened,
  spanWords,
  typedOf,
} from "./retention-model";

describe("how snapshots thin out", () => {
  it("is typed as it is said, and comes back the same", () => {
    expect([1, 24, 36, 8760, 720].map((hours) => typedOf(hours))).toEqual([
      { count: "1", unit: "hours" },
      { count: "1", unit: "days" },
      { count: "36", unit: "hours" },
      { count: "1", unit: "years" },
      { count: "30", unit: "days" },
    ]);
    expect(ruleOf(formOf(defaults))).toEqual({ rule: defaults, wrong: {} });
    expect([1, 36, 720].map(spanWords)).toEqual(["1 hour", "36 hours", "30 days"]);
  });

  it("says which step is wrong, and why", () => {
    const typed = (count: string) => ({
      ...formOf(defaults),
      hourly_hours: { count, unit: "hours" as const },
    });
    for (const [count, words] of [
      ["", "whole"],
      ["1.5", "whole"],
      ["-1", "whole"],
      ["2", "shorter"],
      [String(MAX_HOURS + 1), "Ten years"],
    ] as const)
      expect(ruleOf(typed(count)).wrong.hourly_hours, count).toContain(words);
    expect(ruleOf(formOf({ ...defaults, all_hours: 0 })).wrong.all_hours).toContain("one hour");
    expect(
      ruleOf(formOf({ all_hours: 1, minutely_hours: 1, hourly_hours: 1, daily_hours: 1 })).rule,
    ).not.toBeNull();
  });

  it("counts what each step keeps", () => {
    expect([0, 1, 2, 3].map((index) => pointsOf(defaults, index))).toEqual([null, 23 * 60, 696, 335]);
    expect(shortened(defaults, { ...defaults, daily_hours: 800 }).map(({ key }) => key)).toEqual([
      "daily_hours",
    ]);
  });
});
