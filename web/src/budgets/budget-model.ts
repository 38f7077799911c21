// Budgets in words, and what the form of one means. Pure.
import type { Budget, BudgetItem, BudgetResource, EditBudget } from "../api/types";
import { formatBytes } from "../ui/format";

const labels: Record<BudgetResource, string> = {
  running: "Running workspaces",
  vcpus: "Virtual CPUs",
  memory: "Memory",
  scratch: "Scratch disks",
  starts: "Starts per minute",
  workspaces: "Workspaces",
  homes: "Homes",
  history: "Kept snapshots",
  egress: "Sent this month",
};

const GIB = 2 ** 30;

export const resourceLabel = (resource: BudgetResource): string => labels[resource];

const isBytes = (resource: BudgetResource): boolean =>
  ["memory", "scratch", "homes", "history", "egress"].includes(resource);

export const formatAmount = (resource: BudgetResource, amount: number): string =>
  isBytes(resource) ? formatBytes(amount) : amount.toLocaleString("en");

/** "2 of 5", or only what is used if there is no limit. */
export function usageText({ resource, used, limit }: BudgetItem): string {
  const amount = formatAmount(resource, used);
  return limit == null ? amount : `${amount} of ${formatAmount(resource, limit)}`;
}

export type Tone = "plain" | "near" | "full";

/** From 80 % on, a start may soon be refused. */
export function toneOf({ used, limit }: BudgetItem): Tone {
  if (limit == null) return "plain";
  if (used >= limit) return "full";
  return used >= limit * 0.8 ? "near" : "plain";
}

/** What the form has for one resource: the server's default, no limit, or an amount. */
export interface LimitInput {
  kind: "default" | "none" | "limit";
  /** A count, or GiB. */
  amount: string;
}

export const unitOf = (resource: BudgetResource): string => (isBytes(resource) ? "GiB" : "");

export function inputOf({ resource, limit, is_default }: BudgetItem): LimitInput {
  const amount =
    limit == null ? "" : String(isBytes(resource) ? Math.round((limit / GIB) * 100) / 100 : limit);
  if (is_default) return { kind: "default", amount };
  return { kind: limit == null ? "none" : "limit", amount };
}

/** The amount that an input means, or null if it is no number. */
export function amountOf(resource: BudgetResource, text: string): number | null {
  const number = Number(text.trim().replace(",", "."));
  if (text.trim() === "" || !Number.isFinite(number) || number < 0) return null;
  if (isBytes(resource)) return Math.round(number * GIB);
  return Number.isInteger(number) ? number : null;
}

/** The changes of a form. Null if an amount is no number. */
export function editOf(saved: Budget, form: Partial<Record<BudgetResource, LimitInput>>): EditBudget | null {
  const edit: Required<EditBudget> = { limits: [], defaults: [] };
  for (const item of saved.items) {
    const input = form[item.resource];
    const before = inputOf(item);
    if (!input || (input.kind === before.kind && (input.kind !== "limit" || input.amount === before.amount)))
      continue;
    if (input.kind === "default") edit.defaults.push(item.resource);
    else if (input.kind === "none") edit.limits.push({ resource: item.resource, limit: null });
    else {
      const limit = amountOf(item.resource, input.amount);
      if (limit === null) return null;
      edit.limits.push({ resource: item.resource, limit });
    }
  }
  return edit;
}
