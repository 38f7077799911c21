import { describe, expect, test } from "vitest";
import type { Member, Workspace } from "../api/types";
import { searchMembers, invitationsCsv, tallySummary, tally } from "./roster";

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
