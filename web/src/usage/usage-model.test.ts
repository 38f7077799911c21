import { describe, expect, it } from "vitest";
import type { UsageAmounts, UsageRow } from "../api/types";
import {
  chartText,
  formatAmount,
  formatTime,
  initialForm,
  periodError,
  queryOf,
  scaleTop,
  type Metric,
} from "./usage-model";

const now = Date.parse("2026-03-30T10:00:00Z");
const form = initialForm(now, "own");

describe("the form", () => {
  it("begins with 30 days", () => {
    expect(form).toEqual({ scope: "own", from: "2026-03-01", to: "2026-03-30", by: "workspace" });
    expect(initialForm(now, "everyone").by).toBe("user");
  });

  it("becomes a query", () => {
    expect(queryOf(form, "day").toString()).toBe("from=2026-03-01&to=2026-03-30&by=day");
    expect(queryOf({ ...form, scope: "everyone" }, "user").get("everyone")).toBe("true");
    expect(queryOf({ ...form, scope: { class: "7" } }, "user").get("class")).toBe("7");
  });

  it("has a period that the server accepts", () => {
    expect(periodError(form)).toBeUndefined();
    expect(periodError({ ...form, from: "" })).toBeDefined();
    expect(periodError({ ...form, from: "2026-03-31" })).toBeDefined();
    expect(periodError({ ...form, from: "2025-02-24" })).toBeUndefined();
    expect(periodError({ ...form, from: "2025-02-23" })).toBeDefined();
  });
});

describe("amounts", () => {
  it("have units that people read", () => {
    expect([0, 90, 5400, 45_000, 4_320_000].map(formatTime)).toEqual([
      "0 s",
      "90 s",
      "90 min",
      "12.5 h",
      "1,200 h",
    ]);
    expect(formatAmount("stored", 3 * 2 ** 29)).toBe("1.5 GiB-days");
    expect(formatAmount("sent", 2048)).toBe("2.0 KiB");
  });

  it("fit below the top of the scale", () => {
    expect(scaleTop("machine", 0)).toBe(3600);
    expect(scaleTop("machine", 13 * 3600)).toBe(20 * 3600);
    expect(scaleTop("sent", 3 * 2 ** 20)).toBe(5 * 2 ** 20);
    for (const metric of ["machine", "stored", "sent"] as Metric[])
      for (let largest = 1; largest < 2 ** 53; largest *= 3) {
        const top = scaleTop(metric, largest);
        expect(top).toBeGreaterThanOrEqual(largest);
        expect(metric === "machine" && largest < 3600 ? 0 : top / largest).toBeLessThanOrEqual(10);
      }
  });
});

describe("the text of the chart", () => {
  const amounts: UsageAmounts = {
    machine_seconds: 0,
    vcpu_seconds: 0,
    home_byte_days: 0,
    stored_byte_days: 0,
    sent_bytes: 0,
    received_bytes: 0,
  };
  const day = (key: string, machine_seconds: number): UsageRow => ({
    key,
    name: key,
    owner: null,
    amounts: { ...amounts, machine_seconds },
  });

  it("names the period and the largest day", () => {
    const days = [day("2026-03-01", 60), day("2026-03-02", 5400), day("2026-03-03", 0)];
    expect(chartText(days, "machine")).toContain(
      "from 2026-03-01 to 2026-03-03: at most 90 min, on 2026-03-02",
    );
    expect(chartText(days, "sent")).toContain("nothing");
    expect(chartText([], "sent")).toBe("Sent: no days");
  });
});
