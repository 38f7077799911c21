import { describe, expect, it } from "vitest";
import type { Workspace } from "../api/types";
import { idleStatus, stopCountdown } from "./idle-text";

const now = Date.parse("2026-03-02T09:00:00Z");

function running(idle: Workspace["idle"]): Pick<Workspace, "phase" | "idle"> {
  return { phase: "running", idle };
}

describe("stopCountdown", () => {
  it("counts the last ten minutes", () => {
    const at = (stops_at: string) => stopCountdown(running({ stops_at, awake: [] }), now);
    expect(at("2026-03-02T09:10:01Z")).toBe(null);
    expect(at("2026-03-02T09:10:00Z")).toBe("10:00");
    expect(at("2026-03-02T09:09:05Z")).toBe("9:05");
    expect(at("2026-03-02T08:59:00Z")).toBe("0:00");
  });

  it("is absent without a stop", () => {
    expect(stopCountdown(running({ awake: [] }), now)).toBe(null);
    expect(stopCountdown({ phase: "terminated", idle: null }, now)).toBe(null);
  });
});

describe("idleStatus", () => {
  it("names what keeps a workspace awake", () => {
    const status = idleStatus(running({ awake: [{ kind: "job", program: "pytest" }, { kind: "cpu" }] }), now);
    expect(status?.label).toBe("Stays awake");
    expect(status?.tooltip).toBe(
      "Awake: pytest runs in a terminal, programs use the CPU. It is not stopped while a job runs.",
    );
  });

  it("tells when it stops and who holds it", () => {
    const until = "2026-03-02T17:00:00Z";
    const status = idleStatus(running({ stops_at: until, held_until: until, awake: [] }), now);
    expect(status?.label).toMatch(/^Stops /);
    expect(status?.tooltip).toMatch(/^Nothing keeps this workspace awake\. Stops at .* Held until .*\.$/);
  });
});
