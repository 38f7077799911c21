// The filter of the audit log: what the form contains, and the query that it means. Pure.
import type { AuditOutcome } from "../api/types";

export interface AuditFilter {
  actor: string;
  action: string;
  subject: string;
  outcome: AuditOutcome | "";
  /** Local times as in an input of type datetime-local. */
  from: string;
  until: string;
}

export const emptyFilter: AuditFilter = {
  actor: "",
  action: "",
  subject: "",
  outcome: "",
  from: "",
  until: "",
};

/** Parameters of `GET /audit`. A time that cannot be read is left out. */
export function queryOf(filter: AuditFilter): URLSearchParams {
  const query = new URLSearchParams();
  const put = (name: string, value: string) => {
    if (value) query.set(name, value);
  };
  put("actor", filter.actor.trim());
  put("action", filter.action.trim());
  put("subject", filter.subject.trim());
  put("outcome", filter.outcome);
  put("from", instantOf(filter.from));
  put("until", instantOf(filter.until));
  return query;
}

function instantOf(local: string): string {
  const time = local ? new Date(local) : null;
  return time === null || Number.isNaN(time.getTime()) ? "" : time.toISOString();
}

export function isEmptyFilter(filter: AuditFilter): boolean {
  return queryOf(filter).size === 0;
}
