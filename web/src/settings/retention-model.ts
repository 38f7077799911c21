// The retention policy as a form: which automatic snapshots are kept for how long. Pure. The server
// prunes by the same policy.
import type { Retention } from "../api/types";

export type Unit = "hours" | "days" | "years";
export type Key = keyof Retention;

const HOURS: Record<Unit, number> = { hours: 1, days: 24, years: 365 * 24 };
/** The server's limit: ten years. */
export const MAX_HOURS = 10 * 366 * 24;

export const defaults: Retention = {
  all_hours: 1,
  minutely_hours: 24,
  hourly_hours: 30 * 24,
  daily_hours: 365 * 24,
};

export interface RetentionStep {
  key: Key;
  /** "Every snapshot", "One per minute" */
  label: string;
  /** Hours between two kept snapshots. 0: every snapshot is kept. */
  every: number;
}

export const steps: readonly RetentionStep[] = [
  { key: "all_hours", label: "Every snapshot", every: 0 },
  { key: "minutely_hours", label: "One per minute", every: 1 / 60 },
  { key: "hourly_hours", label: "One per hour", every: 1 },
  { key: "daily_hours", label: "One per day", every: 24 },
];

/** The input of one step. */
export interface StepInput {
  count: string;
  unit: Unit;
}
export type RetentionInput = Record<Key, StepInput>;

/** Hours in the largest unit that divides them. */
export function inputOf(hours: number): StepInput {
  const unit = (["years", "days"] as const).find((unit) => hours > 0 && hours % HOURS[unit] === 0) ?? "hours";
  return { count: String(hours / HOURS[unit]), unit };
}

export function inputsOf(policy: Retention): RetentionInput {
  return Object.fromEntries(steps.map(({ key }) => [key, inputOf(policy[key])])) as RetentionInput;
}

/** The typed duration in hours. Null: not a whole number. */
export function parseHours({ count, unit }: StepInput): number | null {
  if (!/^\d{1,6}$/.test(count.trim())) return null;
  return Number(count) * HOURS[unit];
}

/** The typed policy, or an error for each invalid step. */
export function parseInputs(form: RetentionInput): {
  policy: Retention | null;
  errors: Partial<Record<Key, string>>;
} {
  const errors: Partial<Record<Key, string>> = {};
  const policy = { ...defaults };
  let before = 1;
  for (const [index, { key }] of steps.entries()) {
    const hours = parseHours(form[key]);
    if (hours === null) errors[key] = "Enter a whole number.";
    else if (hours > MAX_HOURS) errors[key] = "The maximum is ten years.";
    else if (index === 0 && hours < 1) errors[key] = "The minimum is one hour.";
    else if (hours < before) errors[key] = "Must not be shorter than the step above.";
    policy[key] = hours ?? 0;
    before = Math.max(before, hours ?? 0);
  }
  return { policy: Object.keys(errors).length === 0 ? policy : null, errors };
}

/**
 * Snapshots that a step keeps of a home with constant changes. Null for the first step, which has
 * no fixed number.
 */
export function keptSnapshots(policy: Retention, index: number): number | null {
  const { key, every } = steps[index] as RetentionStep;
  if (every === 0) return null;
  const from = policy[(steps[index - 1] as RetentionStep).key];
  return Math.max(0, Math.floor((policy[key] - from) / every));
}

/** The steps that would keep snapshots for less time than before. */
export function shortenedSteps(before: Retention, after: Retention): RetentionStep[] {
  return steps.filter(({ key }) => after[key] < before[key]);
}

/** "36 hours", "1 day" */
export function formatHours(hours: number): string {
  const { count, unit } = inputOf(hours);
  return count === "1" ? `1 ${unit.slice(0, -1)}` : `${count} ${unit}`;
}
