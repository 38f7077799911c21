import { describe, expect, it } from "vitest";
import type { Budget, BudgetItem } from "../api/types";
import { amountOf, editOf, inputOf, toneOf, usageText } from "./budget-model";

const running: BudgetItem = { resource: "running", used: 2, limit: 5, is_default: true };
const memory: BudgetItem = { resource: "memory", used: 3 * 2 ** 30, limit: null, is_default: false };
const budget: Budget = { level: "user", id: "1", name: "anna@example.org", items: [running, memory] };

describe("a budget", () => {
  it("shows what is used of which limit", () => {
    expect(usageText(running)).toBe("2 of 5");
    expect(usageText(memory)).toBe("3.0 GiB");
  });

  it("warns before it is exhausted", () => {
    expect(toneOf(running)).toBe("plain");
    expect(toneOf({ ...running, used: 4 })).toBe("near");
    expect(toneOf({ ...running, used: 5 })).toBe("full");
    expect(toneOf(memory)).toBe("plain");
  });

  it("is edited in counts and GiB", () => {
    expect(amountOf("running", "7")).toBe(7);
    expect(amountOf("running", "7.5")).toBeNull();
    expect(amountOf("memory", "0,5")).toBe(2 ** 29);
    for (const text of ["", "many", "-1"]) expect(amountOf("memory", text)).toBeNull();
    expect(inputOf(running)).toEqual({ kind: "default", amount: "5" });
    expect(inputOf(memory)).toEqual({ kind: "none", amount: "" });
  });

  it("sends only what has changed", () => {
    expect(editOf(budget, { running: inputOf(running), memory: inputOf(memory) })).toEqual({
      limits: [],
      defaults: [],
    });
    expect(
      editOf(budget, { running: { kind: "limit", amount: "9" }, memory: { kind: "default", amount: "" } }),
    ).toEqual({ limits: [{ resource: "running", limit: 9 }], defaults: ["memory"] });
    expect(editOf(budget, { running: { kind: "limit", amount: "x" } })).toBeNull();
  });
});
