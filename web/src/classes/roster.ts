// A class in numbers, its invitations as CSV, and search. Pure.
import type { Member } from "../api/types";

export interface Tally {
  students: number;
  running: number;
  moving: number;
  failed: number;
  stopped: number;
}

/** Counts the students by the state of their workspace. A student without one counts as stopped. */
export function tally(members: readonly Member[]): Tally {
  const counts: Tally = { students: members.length, running: 0, moving: 0, failed: 0, stopped: 0 };
  for (const { workspace } of members) {
    if (!workspace || workspace.phase === "terminated") {
      if (workspace?.failure) counts.failed += 1;
      else counts.stopped += 1;
    } else if (workspace.phase === "running") counts.running += 1;
    else counts.moving += 1;
  }
  return counts;
}

/** The tally as a sentence, without zero counts. */
export function tallySummary({ students, running, moving, failed, stopped }: Tally): string {
  if (students === 0) return "No students yet";
  const parts = [
    [running, "running"],
    [moving, "in progress"],
    [failed, "failed"],
    [stopped, "stopped"],
  ] as const;
  return `${pluralize(students, "student")}: ${parts
    .filter(([count]) => count > 0)
    .map(([count, word]) => `${count} ${word}`)
    .join(", ")}`;
}

export function pluralize(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

export interface Invited {
  name: string;
  email: string;
  link: string;
}

/** CSV for a spreadsheet. Fields that a spreadsheet would take for a formula are escaped. */
export function invitationsCsv(invited: readonly Invited[]): string {
  const quote = (field: string) => {
    const harmless = /^[=+\-@\t\r]/.test(field) ? `'${field}` : field;
    return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
  };
  const rows = invited.map((one) => [one.name, one.email, one.link].map(quote).join(","));
  return ["name,email,link", ...rows, ""].join("\r\n");
}

/** The members whose name or email contains `words`. */
export function searchMembers(members: readonly Member[], words: string): Member[] {
  const wanted = words.trim().toLowerCase();
  return members.filter((one) => `${one.name} ${one.email}`.toLowerCase().includes(wanted));
}
