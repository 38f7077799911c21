// What is known of a home: up to when it is safe, how full it is, what its owner should know. Pure.
import type { HomeNotice, Workspace } from "../api/types";
import { size } from "../ui/format";

const MIB = 1024 * 1024;
/** Later than this is worth a colour: a snapshot comes every few seconds. */
const LATE_SECONDS = 30;
const WARN_PART = 0.8;
const FULL_PART = 0.95;

export interface Safety {
  /** None: nothing of it has been saved yet. */
  at: number | null;
  /** All that was written is safe: `at` goes with the clock. */
  ticking: boolean;
  late: boolean;
  /** What stands in the title. */
  about: string;
}

type Facts = Pick<Workspace, "phase" | "safe_at" | "unreplicated_seconds" | "home_notice">;

export function safetyOf(workspace: Facts, now: number): Safety {
  const seconds = workspace.phase === "running" ? workspace.unreplicated_seconds : null;
  const late = typeof seconds === "number" && seconds > LATE_SECONDS;
  const told = workspace.safe_at ? Date.parse(workspace.safe_at) : null;
  const ticking = seconds === 0;
  const about = troubleOf(workspace) ?? {
    lead: "What was written before this instant survives the loss of the machine and its host.",
    rest: "",
  };
  return { at: ticking ? now : told, ticking, late, about: `${about.lead} ${about.rest}`.trim() };
}

/** What keeps a home from being safe, in few words and what follows from it. */
export interface Trouble {
  lead: string;
  rest: string;
}

const notices: Record<HomeNotice, Trouble> = {
  store_unavailable: {
    lead: "The store takes nothing at the moment.",
    rest: "What you write stays on the host, and is saved as soon as the store is back.",
  },
  throttled: {
    lead: "More is written than the store takes.",
    rest: "Writing is slowed down until it has caught up.",
  },
  host_disk_full: {
    lead: "The host's disk is nearly full.",
    rest: "Writing waits until there is room.",
  },
};

const behind: Trouble = {
  lead: "The store is slow.",
  rest: "What you have written last is on the host only, and on its way.",
};

/** None: all is well, or the machine does not run. */
export function troubleOf(workspace: Facts): Trouble | null {
  if (workspace.phase !== "running") return null;
  if (workspace.home_notice) return notices[workspace.home_notice];
  return (workspace.unreplicated_seconds ?? 0) > LATE_SECONDS ? behind : null;
}

export interface Fullness {
  used: number;
  total: number;
  level: "fine" | "warn" | "full";
  /** "8.2 of 10.0 GiB" */
  words: string;
  percent: number;
}

export function fullnessOf(workspace: Pick<Workspace, "home_used_bytes" | "resources">): Fullness | null {
  const used = workspace.home_used_bytes;
  const total = workspace.resources.home_mib * MIB;
  if (used === null || used === undefined || total === 0) return null;
  const part = used / total;
  const [usedWords, totalWords] = [size(used), size(total)];
  const [number, unit] = usedWords.split(" ");
  return {
    used,
    total,
    level: part >= FULL_PART ? "full" : part >= WARN_PART ? "warn" : "fine",
    words: totalWords.endsWith(` ${unit}`) ? `${number} of ${totalWords}` : `${usedWords} of ${totalWords}`,
    percent: Math.floor(part * 100),
  };
}

/** The size that a home is offered next: twice as large, in whole GiB. */
export function nextHomeMib(mib: number): number {
  return Math.ceil((mib * 2) / 1024) * 1024;
}
