import { describe, expect, test } from "vitest";
import type { Member, RosterResult, Workspace } from "../api/types";
import {
  describeRoster,
  invitationsCsv,
  rosterOfRows,
  rosterSummary,
  searchMembers,
  tally,
  tallySummary,
} from "./roster";

const member = (name: string, phase?: Workspace["phase"], failed = false): Member => ({
  id: name,
  name,
  email: `${name}@school.example`,
  joined: true,
  workspace: phase
    ? ({ phase, failure: failed ? { step: "boot", cause: "", action: "" } : null } as Workspace)
    : null,
});

test("tally counts each student once", () => {
  const members = [
    member("ann", "running"),
    member("bob", "provisioning"),
    member("cy", "queued"),
    member("di", "terminated", true),
    member("ed", "terminated"),
    member("flo"),
  ];
  expect(tally(members)).toEqual({ students: 6, running: 1, moving: 2, failed: 1, stopped: 2 });
  expect(tallySummary(tally(members))).toBe("6 students: 1 running, 2 in progress, 1 failed, 2 stopped");
  expect(tallySummary(tally([]))).toBe("No students yet");
});

describe("invitationsCsv", () => {
  test.each([
    ["Ann", "Ann"],
    ["Ann, B.", '"Ann, B."'],
    ['The "best"', '"The ""best"""'],
    ["=1+1", "'=1+1"],
    ["@cmd", "'@cmd"],
  ])("%s", (name, written) => {
    const csv = invitationsCsv([{ name, email: "a@b.example", link: "https://x/join#t" }]);
    expect(csv).toBe(`name,email,link\r\n${written},a@b.example,https://x/join#t\r\n`);
  });
});

test("search matches name and email", () => {
  const members = [member("ann"), member("bob")];
  expect(searchMembers(members, " ANN ").map((one) => one.id)).toEqual(["ann"]);
  expect(searchMembers(members, "bob@school").map((one) => one.id)).toEqual(["bob"]);
  expect(searchMembers(members, "")).toHaveLength(2);
});

test("rejected rows keep their columns", () => {
  const error = { line: 3, row: "x;y", message: "", name: "Okafor, Bruno", email: "bruno(at)x.org" };
  const unread = { line: 4, row: "??", message: "", name: "", email: "" };
  expect(rosterOfRows([error, unread])).toBe('name,email\n"Okafor, Bruno",bruno(at)x.org\n??');
});

test("preview says what would change", () => {
  const row = { line: 2, name: "Ada", email: "ada@x.org", previous: null };
  const result = {
    dry_run: true,
    rows: [
      { ...row, change: "added" },
      { ...row, change: "name_corrected" },
      { ...row, change: "unchanged" },
    ],
    unchanged: 1,
    errors: [],
  } as unknown as RosterResult;
  expect(rosterSummary(result)).toBe("1 student to add, 1 to correct, 1 already in the class.");
  expect(rosterSummary({ ...result, dry_run: false })).toBe(
    "1 student added, 1 corrected, 1 already in the class.",
  );
  const format = { encoding: "UTF-16LE", name_columns: ["Vorname", "Nachname"], email_column: "E-Mail" };
  expect(describeRoster({ ...format, notes: [], text: "" })).toBe(
    "Encoding UTF-16LE. Names from Vorname and Nachname, addresses from E-Mail.",
  );
});
