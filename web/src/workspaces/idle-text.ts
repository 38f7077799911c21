// What keeps a workspace awake and when it stops, in words. Pure.
import type { AwakeReason, Workspace } from "../api/types";
import { formatInstant } from "../ui/format";

/** How long before the stop the countdown is shown. The server warns as early. */
const COUNTDOWN_MS = 10 * 60_000;

type Facts = Pick<Workspace, "phase" | "idle">;

/** "9:05" until the stop, or null if it is further away or does not come. */
export function stopCountdown(workspace: Facts, now: number): string | null {
  if (workspace.phase !== "running" || !workspace.idle?.stops_at) return null;
  const left = Date.parse(workspace.idle.stops_at) - now;
  if (left > COUNTDOWN_MS) return null;
  const seconds = Math.max(0, Math.ceil(left / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

function reasonText(reason: AwakeReason): string {
  switch (reason.kind) {
    case "use":
      return "used in the last minutes";
    case "job":
      return `${reason.program ?? "a program"} runs in a terminal`;
    case "exec":
      return "a program of exec runs";
    case "cpu":
      return "programs use the CPU";
  }
}

/** What the status bar shows, and its explanation. Null unless the workspace runs. */
export function idleStatus(workspace: Facts, now: number): { label: string; tooltip: string } | null {
  const { idle } = workspace;
  if (workspace.phase !== "running" || !idle) return null;
  const reasons = idle.awake.map(reasonText);
  const awake = reasons.length > 0 ? `Awake: ${reasons.join(", ")}.` : "Nothing keeps this workspace awake.";
  const stop = idle.stops_at
    ? `Stops at ${formatInstant(Date.parse(idle.stops_at), now)} if nobody uses it.`
    : idle.awake.some(({ kind }) => kind === "job" || kind === "exec")
      ? "It is not stopped while a job runs."
      : "It does not stop by itself.";
  const held = idle.held_until ? ` Held until ${formatInstant(Date.parse(idle.held_until), now)}.` : "";
  const label = idle.stops_at ? `Stops ${formatInstant(Date.parse(idle.stops_at), now)}` : "Stays awake";
  return { label, tooltip: `${awake} ${stop}${held}` };
}
