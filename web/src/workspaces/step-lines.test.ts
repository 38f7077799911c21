import { describe, expect, it } from "vitest";
import { stepLines } from "./step-lines";

describe("steps", () => {
  const since = (second: number) => `2026-01-01T00:00:0${second}Z`;

  it("lists done, running and pending steps", () => {
    const lines = stepLines({
      phase: "provisioning",
      steps: [
        { step: "queue", since: since(0) },
        { step: "sandbox", since: since(1) },
      ],
    });
    expect(lines.map((line) => [line.step, line.state])).toEqual([
      ["queue", "done"],
      ["sandbox", "running"],
      ["boot", "pending"],
      ["home", "pending"],
    ]);
    expect(lines[0]?.until).toBe(since(1));
  });

  it("end with the failed step", () => {
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

  it("start over on a retry", () => {
    const lines = stepLines({
      phase: "provisioning",
      failure: { step: "boot", cause: "", action: "" },
      steps: [{ step: "boot", since: since(1) }],
    });
    expect(lines.map((line) => line.state)).toEqual(["running", "pending"]);
  });
});
