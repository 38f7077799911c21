// The status of a home: up to when it is safe, how full it is, and what its owner should know. Pure.
import type { HomeNotice, Workspace } from "../api/types";
import { formatBytes } from "../ui/format";

const MIB = 1024 * 1024;
/**
 * A home that is further behind than this is highlighted. Normally a snapshot is committed every
 * few seconds.
 */
const LATE_SECONDS = 30;
const WARN_FRACTION = 0.8;
const FULL_FRACTION = 0.95;

export interface HomeSafety {
  /** Unix milliseconds. Null: nothing has been saved yet. */
  at: number | null;
  late: boolean;
  /** Explains the time, for the tooltip. */
  tooltip: string;
}

type Facts = Pick<
  Workspace,
  "phase" | "safe_at" | "unreplicated_seconds" | "home_notice" | "killed_program" | "resources"
>;

export function homeSafety(workspace: Facts): HomeSafety {
  const seconds = workspace.phase === "running" ? workspace.unreplicated_seconds : null;
  const late = typeof seconds === "number" && seconds > LATE_SECONDS;
  const safeAt = workspace.safe_at ? Date.parse(workspace.safe_at) : null;
  const warning = homeWarning(workspace) ?? {
    title: "Everything written before this time is in the object store, and survives the loss of the host.",
    detail: "",
  };
  return { at: safeAt, late, tooltip: `${warning.title} ${warning.detail}`.trim() };
}

/** What keeps a home from being safe: a short title, and what it means. */
export interface HomeWarning {
  title: string;
  detail: string;
}

const notices: Record<Exclude<HomeNotice, "out_of_memory">, HomeWarning> = {
  store_unavailable: {
    title: "The object store is unavailable.",
    detail: "Your changes stay on the host and are saved as soon as the store is back.",
  },
  throttled: {
    title: "You are writing faster than the object store accepts.",
    detail: "Writes are slowed down until it has caught up.",
  },
  host_disk_full: {
    title: "The host's disk is nearly full.",
    detail: "Writes wait until there is space.",
  },
  idle_stop: {
    title: "Nobody uses this workspace. It stops within minutes.",
    detail: "Type something to keep it running. The home is kept.",
  },
  uploads_paced: {
    title: "This home changes very much and is saved less often.",
    detail: "Create a snapshot or stop the workspace to save it now.",
  },
  home_full: {
    title: "The home is full.",
    detail: "Programs cannot write. Delete files, or enlarge the home.",
  },
  home_out_of_inodes: {
    title: "The home has no room for another file.",
    detail:
      "It contains as many files as it can. Delete some: `du --inodes` in a terminal shows where they are.",
  },
  process_limit: {
    title: "The limit of processes is reached.",
    detail:
      "A program starts too many others. End it in a new terminal, for example with `pkill NAME`, or stop " +
      "the workspace.",
  },
};

const behind: HomeWarning = {
  title: "The object store is slow.",
  detail: "Your latest changes are only on the host until they are uploaded.",
};

function outOfMemory({ killed_program, resources }: Facts): HomeWarning {
  const memory = formatBytes(resources.memory_mib * MIB);
  return {
    title: `${killed_program ?? "A program"} was killed: the workspace's ${memory} of memory are used up.`,
    detail: "Run less at the same time, or use a template with more memory.",
  };
}

/** Null: nothing is wrong, or the workspace is not running. */
export function homeWarning(workspace: Facts): HomeWarning | null {
  if (workspace.phase !== "running") return null;
  if (workspace.home_notice === "out_of_memory") return outOfMemory(workspace);
  if (workspace.home_notice) return notices[workspace.home_notice];
  return (workspace.unreplicated_seconds ?? 0) > LATE_SECONDS ? behind : null;
}

export interface HomeUsage {
  used: number;
  total: number;
  level: "fine" | "warn" | "full";
  /** "8.2 of 10.0 GiB" */
  text: string;
  percent: number;
}

export function homeUsage(workspace: Pick<Workspace, "home_used_bytes" | "resources">): HomeUsage | null {
  const used = workspace.home_used_bytes;
  const total = workspace.resources.home_mib * MIB;
  if (used === null || used === undefined || total === 0) return null;
  const part = used / total;
  const [usedWords, totalWords] = [formatBytes(used), formatBytes(total)];
  const [number, unit] = usedWords.split(" ");
  return {
    used,
    total,
    level: part >= FULL_FRACTION ? "full" : part >= WARN_FRACTION ? "warn" : "fine",
    text: totalWords.endsWith(` ${unit}`) ? `${number} of ${totalWords}` : `${usedWords} of ${totalWords}`,
    percent: Math.floor(part * 100),
  };
}

/** The next size offered for a home: twice as large, in whole GiB. */
export function nextHomeMib(mib: number): number {
  return Math.ceil((mib * 2) / 1024) * 1024;
}
