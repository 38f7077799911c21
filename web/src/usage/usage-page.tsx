// What workspaces have used: the user's own, of a class for its teacher, of everyone for owners and auditors.
import { useEffect, useId, useState } from "react";
import { classesApi, usageApi } from "../api/endpoints";
import type { ClassSummary, UsageReport, UsageRow } from "../api/types";
import { PageFrame } from "../app/page-frame";
import { canAudit, canTeach, useUser } from "../auth/session";
import { Failure } from "../ui/failure";
import { Field } from "../ui/form-fields";
import { SegmentedControl } from "../ui/segmented-control";
import { toastError } from "../ui/toasts";
import { UsageChart } from "./usage-chart";
import {
  formatAmount,
  formatTime,
  initialForm,
  metrics,
  periodError,
  queryOf,
  type Metric,
  type Scope,
  type UsageForm,
} from "./usage-model";
import "./usage.css";

type Usage =
  | { state: "loading" }
  | { state: "failed"; error: unknown }
  | { state: "loaded"; days: UsageReport; rows: UsageReport };

export default function UsagePage() {
  const user = useUser();
  const [form, setForm] = useState<UsageForm>(() =>
    initialForm(Date.now(), canAudit(user) ? "everyone" : "own"),
  );
  const [attempt, setAttempt] = useState(0);
  const [usage, setUsage] = useState<Usage>({ state: "loading" });
  const [metric, setMetric] = useState<Metric>("machine");
  const classes = useTaughtClasses();
  const error = periodError(form);
  useEffect(() => {
    if (error) return;
    const controller = new AbortController();
    const { signal } = controller;
    Promise.all([
      usageApi.get(queryOf(form, "day"), signal),
      usageApi.get(queryOf(form, form.by), signal),
    ]).then(
      ([days, rows]) => setUsage({ state: "loaded", days, rows }),
      (error: unknown) => {
        if (!signal.aborted) setUsage({ state: "failed", error });
      },
    );
    return () => controller.abort();
  }, [form, error, attempt]);
  const change = (part: Partial<UsageForm>) => setForm((form) => ({ ...form, ...part }));
  return (
    <PageFrame title="Usage">
      <div className="page-head">
        <div>
          <h1>Usage</h1>
          <p className="soft">What workspaces have used, also those that are deleted.</p>
        </div>
        <div className="actions">
          <button className="button" onClick={() => setAttempt((attempt) => attempt + 1)}>
            Refresh
          </button>
          <a className="button" href={usageApi.exportUrl(queryOf(form, form.by))} download>
            Export CSV
          </a>
        </div>
      </div>
      <form
        className="panel usage-form"
        aria-label="Period and rows"
        onSubmit={(event) => event.preventDefault()}
      >
        <ScopeField scope={form.scope} classes={classes} onChange={(scope) => change({ scope })} />
        <Field
          label="From"
          type="date"
          value={form.from}
          error={error}
          onChange={(event) => change({ from: event.target.value })}
        />
        <Field
          label="To"
          type="date"
          value={form.to}
          onChange={(event) => change({ to: event.target.value })}
        />
        <RowsField by={form.by} onChange={(by) => change({ by })} />
      </form>
      {usage.state === "failed" && (
        <Failure error={usage.error} onRetry={() => setAttempt((attempt) => attempt + 1)} />
      )}
      {usage.state === "loading" && (
        <div className="panel usage-skeleton" aria-busy="true">
          <div className="skeleton" />
        </div>
      )}
      {usage.state === "loaded" && (
        <>
          <Totals report={usage.days} />
          <SegmentedControl label="Chart" options={metrics} value={metric} onChange={setMetric} />
          <UsageChart days={usage.days.rows} metric={metric} />
          <Rows report={usage.rows} />
        </>
      )}
    </PageFrame>
  );
}

function useTaughtClasses(): ClassSummary[] {
  const isTeacher = canTeach(useUser());
  const [classes, setClasses] = useState<ClassSummary[]>([]);
  useEffect(() => {
    if (!isTeacher) return;
    classesApi.list().then(setClasses, (error: unknown) => toastError(error, "list classes"));
  }, [isTeacher]);
  return classes;
}

interface ScopeFieldProps {
  scope: Scope;
  classes: ClassSummary[];
  onChange: (scope: Scope) => void;
}

function ScopeField({ scope, classes, onChange }: ScopeFieldProps) {
  const user = useUser();
  const id = useId();
  if (!canAudit(user) && classes.length === 0) return null;
  const value = typeof scope === "string" ? scope : scope.class;
  return (
    <div className="field">
      <label htmlFor={id}>Usage of</label>
      <select
        id={id}
        className="input"
        value={value}
        onChange={({ target: { value } }) =>
          onChange(value === "own" || value === "everyone" ? value : { class: value })
        }
      >
        <option value="own">My workspaces</option>
        {canAudit(user) && <option value="everyone">Everyone in {user.tenant_name}</option>}
        {classes.length > 0 && (
          <optgroup label="Classes">
            {classes.map(({ id, name }) => (
              <option key={id} value={id}>
                {name}
              </option>
            ))}
          </optgroup>
        )}
      </select>
    </div>
  );
}

function RowsField({ by, onChange }: { by: UsageForm["by"]; onChange: (by: UsageForm["by"]) => void }) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>Rows</label>
      <select
        id={id}
        className="input"
        value={by}
        onChange={(event) => onChange(event.target.value as UsageForm["by"])}
      >
        <option value="workspace">Workspaces</option>
        <option value="user">Users</option>
        <option value="class">Classes</option>
      </select>
    </div>
  );
}

function Totals({ report: { total } }: { report: UsageReport }) {
  return (
    <dl className="usage-totals">
      <div className="panel">
        <dt>Running time</dt>
        <dd>{formatTime(total.machine_seconds)}</dd>
        <dd className="soft small">{formatTime(total.vcpu_seconds)} of vCPUs</dd>
      </div>
      <div className="panel">
        <dt>Stored homes</dt>
        <dd>{formatAmount("stored", total.stored_byte_days)}</dd>
        <dd className="soft small">{formatAmount("stored", total.home_byte_days)} of size</dd>
      </div>
      <div className="panel">
        <dt>Network</dt>
        <dd>{formatAmount("sent", total.sent_bytes)} sent</dd>
        <dd className="soft small">{formatAmount("received", total.received_bytes)} received</dd>
      </div>
    </dl>
  );
}

const headings: Record<UsageForm["by"], string> = { workspace: "Workspace", user: "User", class: "Class" };

function Rows({ report }: { report: UsageReport }) {
  if (report.rows.length === 0) return <p className="panel empty">Nothing was used in this period.</p>;
  const heading = report.by === "day" ? "Day" : headings[report.by];
  return (
    <div className="panel usage-rows">
      <table className="table">
        <thead>
          <tr>
            <th scope="col">{heading}</th>
            <th scope="col">Running</th>
            <th scope="col" className="wide-only">
              vCPUs
            </th>
            <th scope="col">Homes</th>
            <th scope="col">Sent</th>
            <th scope="col" className="wide-only">
              Received
            </th>
          </tr>
        </thead>
        <tbody>
          {report.rows.map((row) => (
            <UsageTableRow key={row.key} row={row} />
          ))}
        </tbody>
      </table>
      {report.is_truncated && (
        <p className="soft small usage-more">There are more rows. The totals above contain them.</p>
      )}
    </div>
  );
}

function UsageTableRow({ row: { name, owner, amounts } }: { row: UsageRow }) {
  return (
    <tr>
      <th scope="row">
        {name}
        {owner && <span className="soft small usage-owner"> {owner}</span>}
      </th>
      <td>{formatTime(amounts.machine_seconds)}</td>
      <td className="wide-only">{formatTime(amounts.vcpu_seconds)}</td>
      <td>{formatAmount("stored", amounts.stored_byte_days)}</td>
      <td>{formatAmount("sent", amounts.sent_bytes)}</td>
      <td className="wide-only">{formatAmount("received", amounts.received_bytes)}</td>
    </tr>
  );
}
