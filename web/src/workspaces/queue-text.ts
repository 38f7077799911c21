// The place of a waiting start, in words. Pure.
import type { Workspace } from "../api/types";

type Facts = Pick<Workspace, "phase" | "queue_position" | "estimated_start_at" | "is_held">;

/** "about 4 min", or null if nothing is known. */
function estimateText(at: string | null | undefined, now: number): string | null {
  if (!at) return null;
  const seconds = Math.round((Date.parse(at) - now) / 1000);
  if (seconds < 30) return "starts soon";
  if (seconds < 90) return `about ${Math.round(seconds / 10) * 10} s`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} min`;
  return `about ${Math.round(seconds / 3600)} h`;
}

/** "position 3, about 4 min". Null unless the workspace waits and its place is known. */
export function queueText(workspace: Facts, now: number): string | null {
  if (workspace.phase !== "queued") return null;
  if (workspace.is_held) return "until another workspace of its owner, class or organisation stops";
  if (!workspace.queue_position) return null;
  const estimate = estimateText(workspace.estimated_start_at, now);
  return `position ${workspace.queue_position}${estimate ? `, ${estimate}` : ""}`;
}
