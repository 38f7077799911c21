// The audit log of the organisation, for owners and auditors: search, details, export and verification.
import { Fragment, useEffect, useId, useState, type FormEvent } from "react";
import { auditApi } from "../api/endpoints";
import type { AuditEntry, AuditOutcome, AuditVerification } from "../api/types";
import { NotFound } from "../app/not-found";
import { PageFrame } from "../app/page-frame";
import { canAudit, useUser } from "../auth/session";
import { Failure } from "../ui/failure";
import { Field } from "../ui/form-fields";
import { toastError } from "../ui/toasts";
import "./audit.css";
import { emptyFilter, isEmptyFilter, queryOf, type AuditFilter } from "./filter-model";

type List =
  | { state: "loading" }
  | { state: "failed"; error: unknown }
  | { state: "loaded"; entries: AuditEntry[]; hasMore: boolean };

export default function AuditPage() {
  const user = useUser();
  const isAllowed = canAudit(user);
  const [form, setForm] = useState<AuditFilter>(emptyFilter);
  const [filter, setFilter] = useState<AuditFilter>(emptyFilter);
  const [attempt, setAttempt] = useState(0);
  const [list, setList] = useState<List>({ state: "loading" });
  useEffect(() => {
    if (!isAllowed) return;
    const controller = new AbortController();
    auditApi.list(queryOf(filter), controller.signal).then(
      (page) => setList({ state: "loaded", entries: page.entries, hasMore: page.has_more }),
      (error: unknown) => {
        if (!controller.signal.aborted) setList({ state: "failed", error });
      },
    );
    return () => controller.abort();
  }, [isAllowed, filter, attempt]);
  if (!isAllowed) {
    return <NotFound title="Page not found" text="Only owners and auditors read the audit log." />;
  }
  const search = (next: AuditFilter) => {
    setList({ state: "loading" });
    setFilter(next);
    setAttempt((attempt) => attempt + 1);
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    search(form);
  };
  return (
    <PageFrame title="Audit log">
      <div className="page-head">
        <div>
          <h1>Audit log</h1>
          <p className="soft">Who did what in {user.tenant_name}. Entries cannot be changed.</p>
        </div>
        <div className="actions">
          <VerifyButton />
          <a className="button" href={auditApi.exportUrl(queryOf(filter))} download="audit.jsonl">
            Export
          </a>
        </div>
      </div>
      <form className="panel audit-filter" onSubmit={submit} aria-label="Filter" role="search">
        <FilterFields form={form} onChange={(change) => setForm((form) => ({ ...form, ...change }))} />
        <div className="form-actions">
          <button
            type="button"
            className="button"
            disabled={isEmptyFilter(form) && isEmptyFilter(filter)}
            onClick={() => {
              setForm(emptyFilter);
              search(emptyFilter);
            }}
          >
            Clear
          </button>
          <button className="button primary">Search</button>
        </div>
      </form>
      <Entries
        list={list}
        isFiltered={!isEmptyFilter(filter)}
        onRetry={() => search(filter)}
        onMore={async (before) => {
          const page = await auditApi.list(queryOf(filter), undefined, before);
          setList((list) =>
            list.state === "loaded" && list.entries.at(-1)?.seq === before
              ? { state: "loaded", entries: [...list.entries, ...page.entries], hasMore: page.has_more }
              : list,
          );
        }}
      />
    </PageFrame>
  );
}

interface FilterFieldsProps {
  form: AuditFilter;
  onChange: (change: Partial<AuditFilter>) => void;
}

function FilterFields({ form, onChange }: FilterFieldsProps) {
  const outcome = useId();
  return (
    <div className="audit-fields">
      <Field
        label="User"
        placeholder="Email address or id"
        value={form.actor}
        onChange={(event) => onChange({ actor: event.target.value })}
      />
      <Field
        label="Action"
        placeholder="workspace. or session.refuse"
        value={form.action}
        onChange={(event) => onChange({ action: event.target.value })}
      />
      <Field
        label="Object"
        placeholder="Id"
        value={form.subject}
        onChange={(event) => onChange({ subject: event.target.value })}
      />
      <div className="field">
        <label htmlFor={outcome}>Outcome</label>
        <select
          id={outcome}
          className="input"
          value={form.outcome}
          onChange={(event) => onChange({ outcome: event.target.value as AuditOutcome | "" })}
        >
          <option value="">All</option>
          <option value="allowed">Allowed</option>
          <option value="refused">Refused</option>
        </select>
      </div>
      <Field
        label="From"
        type="datetime-local"
        value={form.from}
        onChange={(event) => onChange({ from: event.target.value })}
      />
      <Field
        label="Until"
        type="datetime-local"
        value={form.until}
        onChange={(event) => onChange({ until: event.target.value })}
      />
    </div>
  );
}

interface EntriesProps {
  list: List;
  isFiltered: boolean;
  onRetry: () => void;
  onMore: (before: number) => Promise<void>;
}

function Entries({ list, isFiltered, onRetry, onMore }: EntriesProps) {
  const [open, setOpen] = useState<number | null>(null);
  const [isLoading, setIsLoading] = useState(false);
  if (list.state === "failed") return <Failure error={list.error} onRetry={onRetry} />;
  if (list.state === "loading") {
    return (
      <div className="panel audit-skeleton" aria-busy="true">
        <div className="skeleton" />
      </div>
    );
  }
  if (list.entries.length === 0) {
    return (
      <p className="panel empty">{isFiltered ? "No entry fits the filter." : "There are no entries yet."}</p>
    );
  }
  const last = list.entries.at(-1)?.seq ?? 0;
  const more = () => {
    setIsLoading(true);
    onMore(last)
      .catch((error: unknown) => toastError(error, "load older entries"))
      .finally(() => setIsLoading(false));
  };
  return (
    <div className="panel audit-entries">
      <table className="table">
        <thead>
          <tr>
            <th scope="col">Time</th>
            <th scope="col">User</th>
            <th scope="col">Action</th>
            <th scope="col" className="wide-only">
              Object
            </th>
            <th scope="col" className="wide-only">
              Address
            </th>
            <th>
              <span className="hidden-text">Details</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {list.entries.map((entry) => (
            <EntryRows
              key={entry.seq}
              entry={entry}
              isOpen={open === entry.seq}
              onToggle={() => setOpen((open) => (open === entry.seq ? null : entry.seq))}
            />
          ))}
        </tbody>
      </table>
      {list.hasMore && (
        <div className="form-actions audit-more">
          <button className="button" disabled={isLoading} onClick={more}>
            {isLoading ? "Loading…" : "Load older entries"}
          </button>
        </div>
      )}
    </div>
  );
}

function EntryRows({
  entry,
  isOpen,
  onToggle,
}: {
  entry: AuditEntry;
  isOpen: boolean;
  onToggle: () => void;
}) {
  const id = useId();
  return (
    <Fragment>
      <tr>
        <td>
          <time dateTime={entry.at}>{new Date(entry.at).toLocaleString()}</time>
        </td>
        <td>{entry.actor_email ?? entry.actor ?? <span className="soft">Server</span>}</td>
        <td>
          <code>{entry.action}</code>
          {entry.outcome === "refused" && <span className="audit-refused"> Refused</span>}
        </td>
        <td className="wide-only audit-subject">{entry.subject}</td>
        <td className="wide-only">{entry.address}</td>
        <td className="end">
          <button
            className="link-button"
            aria-expanded={isOpen}
            aria-controls={id}
            aria-label={`Details of entry ${entry.seq}`}
            onClick={onToggle}
          >
            Details
          </button>
        </td>
      </tr>
      {isOpen && (
        <tr id={id}>
          <td colSpan={6}>
            <dl className="audit-details">
              <dt>Number</dt>
              <dd>{entry.seq}</dd>
              <dt>Object</dt>
              <dd>{entry.subject || "none"}</dd>
              <dt>Request</dt>
              <dd>{entry.request ?? "none"}</dd>
              <dt>Session</dt>
              <dd>{entry.session ?? "none"}</dd>
              <dt>Address</dt>
              <dd>{entry.address ?? "none"}</dd>
              <dt>Details</dt>
              <dd>
                <code>{JSON.stringify(entry.detail)}</code>
              </dd>
              <dt>Hash</dt>
              <dd>
                <code>{entry.hash}</code>
              </dd>
            </dl>
          </td>
        </tr>
      )}
    </Fragment>
  );
}

function VerifyButton() {
  const [result, setResult] = useState<AuditVerification | "busy" | null>(null);
  const verify = () => {
    setResult("busy");
    auditApi.verify().then(setResult, (error: unknown) => {
      setResult(null);
      toastError(error, "verify the audit log");
    });
  };
  return (
    <>
      <span
        role="status"
        className={result && result !== "busy" && !result.is_intact ? "wrong" : "soft small"}
      >
        {result && result !== "busy" && verificationText(result)}
      </span>
      <button className="button" disabled={result === "busy"} onClick={verify}>
        {result === "busy" ? "Verifying…" : "Verify"}
      </button>
    </>
  );
}

function verificationText(result: AuditVerification): string {
  if (!result.is_intact) return `Not intact: ${result.faults[0] ?? "unknown"}`;
  return `${result.entries.toLocaleString("en")} entries are intact`;
}
