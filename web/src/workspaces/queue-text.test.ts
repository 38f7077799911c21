import { describe, expect, it } from "vitest";
import { queueText } from "./queue-text";

const now = Date.parse("2026-03-02T09:00:00Z");
const queued = { phase: "queued", queue_position: 3, estimated_start_at: null, is_held: false } as const;

describe("the place in the queue", () => {
  it("is shown with its estimate", () => {
    const at = (time: string) => queueText({ ...queued, estimated_start_at: time }, now);
    expect(queueText(queued, now)).toBe("position 3");
    expect(at("2026-03-02T09:00:10Z")).toBe("position 3, starts soon");
    expect(at("2026-03-02T09:00:52Z")).toBe("position 3, about 50 s");
    expect(at("2026-03-02T09:04:20Z")).toBe("position 3, about 4 min");
    expect(at("2026-03-02T11:10:00Z")).toBe("position 3, about 2 h");
  });

  it("is absent for a start that a budget holds back", () => {
    expect(queueText({ ...queued, queue_position: null, is_held: true }, now)).toMatch(/^until another/);
    expect(queueText({ ...queued, phase: "running" }, now)).toBeNull();
    expect(queueText({ ...queued, queue_position: null }, now)).toBeNull();
  });
});
