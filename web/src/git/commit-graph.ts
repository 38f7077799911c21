// Where the lines of a history graph are. Pure.
import type { Commit } from "../api/agent";

/** One row of the graph: a dot in a lane, and lines from the lanes of this row to those of the next one. */
export interface GraphRow {
  lane: number;
  lines: readonly (readonly [from: number, to: number])[];
  /** Lanes of this row and the next one. */
  width: number;
}

/** Lays out commits, no parent of which comes before its children. */
export function layoutGraph(commits: readonly Pick<Commit, "id" | "parents">[]): GraphRow[] {
  /** The commit that each lane leads to. */
  let lanes: string[] = [];
  return commits.map(({ id, parents }) => {
    const present = lanes.includes(id) ? lanes : [...lanes, id];
    const lane = present.indexOf(id);
    const next: string[] = [];
    const lines: (readonly [number, number])[] = [];
    const lead = (from: number, to: string) => {
      const at = next.indexOf(to);
      lines.push([from, at >= 0 ? at : next.push(to) - 1]);
    };
    present.forEach((target, from) => {
      if (target !== id) lead(from, target);
      // Other lanes that led here end.
      else if (from === lane) for (const parent of parents) lead(from, parent);
    });
    lanes = next;
    return { lane, lines, width: Math.max(present.length, next.length) };
  });
}
