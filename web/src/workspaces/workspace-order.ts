// The order of the list of workspaces. Pure.
import type { Workspace } from "../api/types";

type Touched = Pick<Workspace, "id" | "last_used_at" | "created_at">;

/**
 * The ids in the order of the list: known ones stay where they are, and new ones come first. The last
 * used workspace is first when the list is shown, but using one does not move it.
 */
export function stableOrder(before: readonly string[], workspaces: readonly Touched[]): string[] {
  const there = new Set(workspaces.map(({ id }) => id));
  const known = new Set(before);
  const touched = (one: Touched) => Date.parse(one.last_used_at ?? one.created_at);
  const fresh = workspaces.filter(({ id }) => !known.has(id)).sort((a, b) => touched(b) - touched(a));
  return [...fresh.map(({ id }) => id), ...before.filter((id) => there.has(id))];
}
