// How automatic snapshots thin out, as a person says and sees it. Pure; the server decides by the same rule.
import type { Retention } from "../api/types";

export type Unit = "hours" | "days" | "years";
export type Key = keyof Retention;

const HOURS: Record<Unit, number> = { hours: 1, days: 24, years: 365 * 24 };
/** As the server has it: ten years. */
export const MAX_HOURS = 10 * 366 * 24;

export const defaults: Retention = {
  all_hours: 1,
  minutely_hours: 24,
  hourly_hours: 30 * 24,
  daily_hours: 365 * 24,
};

export interface Step {
  key: Key;
  /** "Every snapshot", "One a minute" */
  word: string;
  /** Hours between two points that are kept; 0: each is. */
  every: number;
}

export const steps: readonly Step[] = [
  { key: "all_hours", word: "Every snapshot", every: 0 },
  { key: "minutely_hours", word: "One a minute", every: 1 / 60 },
  { key: "hourly_hours", word: "One an hour", every: 1 },
  { key: "daily_hours", word: "One a day", every: 24 },
];

/** What is typed for one step. */
export interface Typed {
  count: string;
  unit: Unit;
}
export type Form = Record<Key, Typed>;

/** The largest unit that says it without a rest. */
export function typedOf(hours: number): Typed {
  const unit = (["years", "days"] as const).find((unit) => hours > 0 && hours % HOURS[unit] === 0) ?? "hours";
  return { count: String(hours / HOURS[unit]), unit };
}

export function formOf(rule: Retention): Form {
  return Object.fromEntries(steps.map(({ key }) => [key, typedOf(rule[key])])) as Form;
}

/** Whole hours; none where it is no such number. */
export function hoursOf({ count, unit }: Typed): number | null {
  if (!/^\d{1,6}$/.test(count.trim())) return null;
  return Number(count) * HOURS[unit];
}

/** The rule that is typed, or what is wrong with which step. */
export function ruleOf(form: Form): { rule: Retention | null; wrong: Partial<Record<Key, string>> } {
  const wrong: Partial<Record<Key, string>> = {};
  const rule = { ...defaults };
  let before = 1;
  for (const [index, { key }] of steps.entries()) {
    const hours = hoursOf(form[key]);
    if (hours === null) wrong[key] = "A whole number.";
    else if (hours > MAX_HOURS) wrong[key] = "Ten years at most.";
    else if (index === 0 && hours < 1) wrong[key] = "At least one hour.";
    else if (hours < before) wrong[key] = "No shorter than the step before.";
    rule[key] = hours ?? 0;
    before = Math.max(before, hours ?? 0);
  }
  return { rule: Object.keys(wrong).length === 0 ? rule : null, wrong };
}

/** Points that a step keeps of a home that is always written to; none for the first, which has no fixed number. */
export function pointsOf(rule: Retention, index: number): number | null {
  const { key, every } = steps[index] as Step;
  if (every === 0) return null;
  const from = rule[(steps[index - 1] as Step).key];
  return Math.max(0, Math.floor((rule[key] - from) / every));
}

/** Steps that would keep less than before. */
export function shortened(before: Retention, after: Retention): Step[] {
  return steps.filter(({ key }) => after[key] < before[key]);
}

/** "36 hours", "1 day" */
export function spanWords(hours: number): string {
  const { count, unit } = typedOf(hours);
  return count === "1" ? `1 ${unit.slice(0, -1)}` : `${count} ${unit}`;
}
