// How states, times and sizes are said. Pure.
import type { Phase, Step, Workspace } from "../api/types";

export type Tone = "good" | "busy" | "bad" | "rest";

const phases: Record<Phase, { word: string; tone: Tone }> = {
  queued: { word: "Queued", tone: "busy" },
  provisioning: { word: "Provisioning", tone: "busy" },
  running: { word: "Running", tone: "good" },
  stopping: { word: "Stopping", tone: "busy" },
  persisting: { word: "Saving the home", tone: "busy" },
  terminated: { word: "Stopped", tone: "rest" },
};

export function phaseWord(phase: Phase): string {
  return phases[phase].word;
}

export function toneOf(workspace: Pick<Workspace, "phase" | "failure">): Tone {
  return workspace.failure && workspace.phase === "terminated" ? "bad" : phases[workspace.phase].tone;
}

const steps: Record<Step, string> = {
  queue: "Waiting for a place",
  runner: "Starting the runner",
  volume: "Opening the home",
  network: "Making the network",
  machine: "Starting the machine",
  boot: "Booting",
  home: "Mounting the home",
  ready: "Ready",
  freeze: "Settling the home",
  upload: "Saving what changed",
  commit: "Recording the snapshot",
  remove: "Removing the machine",
};

export function stepWord(step: Step): string {
  return steps[step];
}

/** "Booting failed." */
export function failedWords(step: Step): string {
  return step === "ready" ? "The machine broke." : `${stepWord(step)} failed.`;
}

/** The steps of a start, in order: those to come are shown too. */
export const startSteps: readonly Step[] = [
  "queue",
  "runner",
  "volume",
  "network",
  "machine",
  "boot",
  "home",
];
export const stopSteps: readonly Step[] = ["freeze", "upload", "commit", "remove"];

export const isMoving = (phase: Phase): boolean => phase !== "running" && phase !== "terminated";
export const canStart = (phase: Phase): boolean => phase === "terminated";
export const canStop = (phase: Phase): boolean =>
  phase === "running" || phase === "queued" || phase === "provisioning";

/** "0.4 s", "12 s", "3 min 05 s". */
export function duration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${String(Math.floor(seconds % 60)).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

/** "just now", "5 minutes ago", "in 3 days". */
export function relative(iso: string, now: number): string {
  const ms = Date.parse(iso) - now;
  const units = [
    ["day", 86_400_000],
    ["hour", 3_600_000],
    ["minute", 60_000],
  ] as const;
  for (const [unit, length] of units) {
    if (Math.abs(ms) >= length) {
      return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(Math.trunc(ms / length), unit);
    }
  }
  return ms > 0 ? "in a moment" : "just now";
}

const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const dayAndClock = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const whole = new Intl.DateTimeFormat("en-GB", {
  weekday: "short",
  day: "numeric",
  month: "short",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});

/** As short as it is clear: "14:03:22" today, "12 Mar, 14:03" this year, "12 Mar 2024" before. */
export function instant(at: number, now: number): string {
  const [then, today] = [new Date(at), new Date(now)];
  if (then.toDateString() === today.toDateString()) return clock.format(at);
  return then.getFullYear() === today.getFullYear() ? dayAndClock.format(at) : day.format(at);
}

/** "Wed, 12 Mar 2025, 14:03:22". */
export function wholeInstant(at: number): string {
  return whole.format(at);
}

export function size(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** A name as the server takes it: 1 to 63 of a-z, 0-9 and hyphens, not at the ends. */
export function nameProblem(name: string): string {
  if (!name) return "Give it a name.";
  if (name.length > 63) return "At most 63 characters.";
  if (!/^[a-z0-9-]+$/.test(name)) return "Small letters, digits and hyphens only.";
  if (/^-|-$/.test(name)) return "It begins and ends with a letter or digit.";
  return "";
}
