// Labels of a workspace's phases and steps, and what a user may do in each phase. Pure.
import type { Phase, Step, Workspace } from "../api/types";

export type Tone = "good" | "busy" | "bad" | "rest";

const phases: Record<Phase, { word: string; tone: Tone }> = {
  queued: { word: "Queued", tone: "busy" },
  provisioning: { word: "Provisioning", tone: "busy" },
  running: { word: "Running", tone: "good" },
  stopping: { word: "Stopping", tone: "busy" },
  persisting: { word: "Saving", tone: "busy" },
  terminated: { word: "Stopped", tone: "rest" },
};

export function phaseLabel(phase: Phase): string {
  return phases[phase].word;
}

export function toneOf(workspace: Pick<Workspace, "phase" | "failure">): Tone {
  return workspace.failure && workspace.phase === "terminated" ? "bad" : phases[workspace.phase].tone;
}

const steps: Record<Step, string> = {
  queue: "Waiting in the queue",
  runner: "Starting the runner",
  volume: "Opening the home",
  network: "Setting up the network",
  sandbox: "Starting the sandbox",
  boot: "Booting",
  home: "Mounting the home",
  ready: "Ready",
  freeze: "Flushing the home",
  upload: "Uploading changes",
  commit: "Recording the snapshot",
  remove: "Removing the sandbox",
};

export function stepLabel(step: Step): string {
  return steps[step];
}

/** "Booting failed." */
export function failureTitle(step: Step): string {
  return step === "ready" ? "The sandbox failed." : `${stepLabel(step)} failed.`;
}

/** The steps of a start, in order. */
export const startSteps: readonly Step[] = [
  "queue",
  "runner",
  "volume",
  "network",
  "sandbox",
  "boot",
  "home",
];

export const stopSteps: readonly Step[] = ["freeze", "upload", "commit", "remove"];

export const isTransitioning = (phase: Phase): boolean => phase !== "running" && phase !== "terminated";

export const canStart = (phase: Phase): boolean => phase === "terminated";

export const canStop = (phase: Phase): boolean =>
  phase === "running" || phase === "queued" || phase === "provisioning";

/** What a stop does, for the dialog that confirms it. */
export const STOP_TEXT =
  "Running programs end. The home is saved first. Everything outside of the home is discarded, such as " +
  "installed packages and changes in /etc.";
