// A class in numbers, rosters and invitations as CSV, and search. Pure.
import type { Member, RosterFormat, RosterResult, RowError } from "../api/types";

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

/** What a roster does or did, as a sentence without zero counts. */
export function rosterSummary(result: RosterResult): string {
  const count = (change: string) => result.rows.filter((row) => row.change === change).length;
  const corrected = count("name_corrected") + count("email_corrected");
  const parts = [
    count("added") > 0
      ? `${pluralize(count("added"), "student")} ${result.dry_run ? "to add" : "added"}`
      : "",
    corrected > 0 ? `${corrected} ${result.dry_run ? "to correct" : "corrected"}` : "",
    result.unchanged > 0 ? `${result.unchanged} already in the class` : "",
    result.errors.length > 0 ? `${pluralize(result.errors.length, "row")} rejected` : "",
  ].filter(Boolean);
  return `${parts.join(", ") || "No students"}.`;
}

/** Where names and addresses come from: "Names from Vorname and Nachname, addresses from E-Mail." */
export function describeRoster(format: RosterFormat): string {
  const encoding = format.encoding === "UTF-8" ? "" : `Encoding ${format.encoding}.`;
  if (!format.email_column) return encoding;
  const names = format.name_columns.length > 0 ? `Names from ${format.name_columns.join(" and ")}, ` : "";
  const columns = `${names}addresses from ${format.email_column}.`;
  return `${encoding} ${columns[0]?.toUpperCase() ?? ""}${columns.slice(1)}`.trim();
}

/** Rejected rows as a roster to be corrected. Its header names the columns. */
export function rosterOfRows(errors: readonly RowError[]): string {
  const row = (error: RowError) =>
    error.name || error.email ? [error.name, error.email].map(quoted).join(",") : error.row;
  return ["name,email", ...errors.map(row)].join("\n");
}

function quoted(field: string): string {
  return /[",;\t\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
}

export interface Invited {
  name: string;
  email: string;
  /** Null if another teacher has invited the student. */
  link: string | null;
}

/** CSV for a spreadsheet. Fields that a spreadsheet would take for a formula are escaped. */
export function invitationsCsv(invited: readonly Invited[]): string {
  const quote = (field: string) => {
    const harmless = /^[=+\-@\t\r]/.test(field) ? `'${field}` : field;
    return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
  };
  const rows = invited.map((one) => [one.name, one.email, one.link ?? ""].map(quote).join(","));
  return ["name,email,link", ...rows, ""].join("\r\n");
}

/** The members whose name or email contains `words`. */
export function searchMembers(members: readonly Member[], words: string): Member[] {
  const wanted = words.trim().toLowerCase();
  return members.filter((one) => `${one.name} ${one.email}`.toLowerCase().includes(wanted));
}
