// The steps of a start or stop as lines to show: done, running, failed, and still to come. Pure.
import type { Step, Workspace } from "../api/types";
import { isMoving, startSteps, stopSteps } from "./phases";

export interface StepLine {
  step: Step;
  state: "done" | "now" | "failed" | "ahead";
  since?: string;
  until?: string;
  detail?: string;
}

/** What has been, what is, what will be. Steps that the runner skipped are not shown as ahead. */
export function stepLines(workspace: Pick<Workspace, "steps" | "phase" | "failure">): StepLine[] {
  const stopping = workspace.phase === "stopping" || workspace.phase === "persisting";
  // While it is tried again, the failure is the attempt's before.
  const failed = isMoving(workspace.phase) ? undefined : workspace.failure?.step;
  const known = workspace.steps;
  if (failed && known.length === 0) return untilFailed(failed);
  const lines: StepLine[] = known.map((progress, index) => {
    const next = known[index + 1];
    const last = next === undefined;
    const done = !last || progress.step === "ready";
    return {
      step: progress.step,
      state: progress.step === failed ? "failed" : done ? "done" : failed ? "done" : "now",
      since: progress.since,
      ...(next ? { until: next.since } : {}),
      ...(progress.detail ? { detail: progress.detail } : {}),
    };
  });
  if (failed || workspace.phase === "terminated" || workspace.phase === "running") return lines;
  const order = stopping ? stopSteps : startSteps;
  const reached = order.indexOf(known.at(-1)?.step ?? "queue");
  const ahead = order.slice(reached + 1).filter((step) => !known.some((progress) => progress.step === step));
  return [...lines, ...ahead.map((step): StepLine => ({ step, state: "ahead" }))];
}

/** Their times are not known any more. A machine that broke while it ran had them all behind it. */
function untilFailed(failed: Step): StepLine[] {
  const order = startSteps.includes(failed) ? startSteps : stopSteps;
  const at = order.indexOf(failed);
  return order.slice(0, at + 1).map((step, index) => ({ step, state: index < at ? "done" : "failed" }));
}
