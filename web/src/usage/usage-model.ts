// Usage in words, the query that the form means, and the scale of the chart. Pure.
import type { UsageAmounts, UsageGroup, UsageRow } from "../api/types";
import { formatBytes } from "../ui/format";

/** Whose usage: the user's own, everyone's, or that of a class with this id. */
export type Scope = "own" | "everyone" | { class: string };

export interface UsageForm {
  scope: Scope;
  /** Days such as "2026-03-02", in UTC. */
  from: string;
  to: string;
  by: Exclude<UsageGroup, "day">;
}

const DAY_MS = 86_400_000;
export const MAX_DAYS = 400;

export const dayOf = (at: number): string => new Date(at).toISOString().slice(0, 10);

/** The last 30 days. */
export function initialForm(now: number, scope: Scope): UsageForm {
  return {
    scope,
    from: dayOf(now - 29 * DAY_MS),
    to: dayOf(now),
    by: scope === "own" ? "workspace" : "user",
  };
}

/** Why a period cannot be shown, if so. */
export function periodError({ from, to }: UsageForm): string | undefined {
  const [first, last] = [Date.parse(from), Date.parse(to)];
  if (Number.isNaN(first) || Number.isNaN(last)) return "Choose two days.";
  if (first > last) return "The first day must not be after the last one.";
  if ((last - first) / DAY_MS >= MAX_DAYS) return `Choose at most ${MAX_DAYS} days.`;
  return undefined;
}

/** Parameters of `GET /usage`. */
export function queryOf(form: UsageForm, by: UsageGroup): URLSearchParams {
  const query = new URLSearchParams({ from: form.from, to: form.to, by });
  if (form.scope === "everyone") query.set("everyone", "true");
  else if (form.scope !== "own") query.set("class", form.scope.class);
  return query;
}

export const metrics = [
  ["machine", "Running"],
  ["stored", "Homes"],
  ["sent", "Sent"],
  ["received", "Received"],
] as const;

export type Metric = (typeof metrics)[number][0];

export const metricLabel = (metric: Metric): string =>
  ({ machine: "Running time", stored: "Stored homes", sent: "Sent", received: "Received" })[metric];

export function amountOf(amounts: UsageAmounts, metric: Metric): number {
  if (metric === "machine") return amounts.machine_seconds;
  if (metric === "stored") return amounts.stored_byte_days;
  return metric === "sent" ? amounts.sent_bytes : amounts.received_bytes;
}

/** "90 s", "12 min", "12.5 h", "1,204 h". */
export function formatTime(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  const hours = seconds / 3600;
  return `${hours.toLocaleString("en", { maximumFractionDigits: hours < 100 ? 1 : 0 })} h`;
}

export function formatAmount(metric: Metric, amount: number): string {
  if (metric === "machine") return formatTime(amount);
  return metric === "stored" ? `${formatBytes(amount)}-days` : formatBytes(amount);
}

/**
 * The upper end of the scale: the next larger of 1, 2 or 5 times a power of ten, in hours or in the unit of
 * the bytes.
 */
export function scaleTop(metric: Metric, largest: number): number {
  const base =
    metric === "machine" ? 3600 : 1024 ** Math.floor(Math.log(Math.max(largest, 1)) / Math.log(1024));
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];
  let top = steps.find((step) => step * base >= largest);
  for (let power = 10_000; top === undefined; power *= 10) if (power * base >= largest) top = power;
  return top * base;
}

/** What a screen reader says instead of the chart. */
export function chartText(days: UsageRow[], metric: Metric): string {
  const label = metricLabel(metric);
  const first = days[0];
  const last = days.at(-1);
  if (!first || !last) return `${label}: no days`;
  let most = first;
  for (const day of days) if (amountOf(day.amounts, metric) > amountOf(most.amounts, metric)) most = day;
  const period = `${label} per day from ${first.key} to ${last.key}`;
  const amount = amountOf(most.amounts, metric);
  return amount === 0
    ? `${period}: nothing`
    : `${period}: at most ${formatAmount(metric, amount)}, on ${most.key}. A table follows.`;
}
