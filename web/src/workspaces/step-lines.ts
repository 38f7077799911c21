// The steps of a start or stop as lines to show: done, running, failed, and still to come. Pure.
import type { Step, Workspace } from "../api/types";
import { isTransitioning, startSteps, stopSteps } from "./phases";

export interface StepLine {
  step: Step;
  state: "done" | "running" | "failed" | "pending";
  since?: string;
  until?: string;
  detail?: string;
}

/** The steps so far, then those to come. Steps that the runner skipped are not shown as pending. */
export function stepLines(workspace: Pick<Workspace, "steps" | "phase" | "failure">): StepLine[] {
  const stopping = workspace.phase === "stopping" || workspace.phase === "persisting";
  // During a retry, the failure is that of the previous attempt.
  const failed = isTransitioning(workspace.phase) ? undefined : workspace.failure?.step;
  const known = workspace.steps;
  if (failed && known.length === 0) return linesUntilFailure(failed);
  const lines: StepLine[] = known.map((progress, index) => {
    const next = known[index + 1];
    const last = next === undefined;
    const done = !last || progress.step === "ready";
    return {
      step: progress.step,
      state: progress.step === failed ? "failed" : done ? "done" : failed ? "done" : "running",
      since: progress.since,
      ...(next ? { until: next.since } : {}),
      ...(progress.detail ? { detail: progress.detail } : {}),
    };
  });
  if (failed || workspace.phase === "terminated" || workspace.phase === "running") return lines;
  const order = stopping ? stopSteps : startSteps;
  const reached = order.indexOf(known.at(-1)?.step ?? "queue");
  const ahead = order.slice(reached + 1).filter((step) => !known.some((progress) => progress.step === step));
  return [...lines, ...ahead.map((step): StepLine => ({ step, state: "pending" }))];
}

/**
 * The steps up to the failed one, when their times are no longer known. None if the sandbox failed
 * while running.
 */
function linesUntilFailure(failed: Step): StepLine[] {
  const order = startSteps.includes(failed) ? startSteps : stopSteps;
  const at = order.indexOf(failed);
  return order.slice(0, at + 1).map((step, index) => ({ step, state: index < at ? "done" : "failed" }));
}
