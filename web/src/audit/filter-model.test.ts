import { describe, expect, it } from "vitest";
import { emptyFilter, isEmptyFilter, queryOf } from "./filter-model";

describe("queryOf", () => {
  it("leaves out what is empty", () => {
    expect(queryOf(emptyFilter).toString()).toBe("");
    expect(isEmptyFilter({ ...emptyFilter, actor: "  " })).toBe(true);
  });

  it("trims texts and converts local times", () => {
    const query = queryOf({
      ...emptyFilter,
      actor: " anna@example.org ",
      action: "workspace.",
      outcome: "refused",
      from: "2026-03-02T09:00",
      until: "not a time",
    });
    expect(query.get("actor")).toBe("anna@example.org");
    expect(query.get("outcome")).toBe("refused");
    expect(query.get("from")).toBe(new Date("2026-03-02T09:00").toISOString());
    expect(query.has("until")).toBe(false);
  });
});
