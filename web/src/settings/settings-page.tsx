// What an owner sets for everybody: how long the past of homes is kept.
import { useEffect, useId, useState, type FormEvent } from "react";
import { retention } from "../api/endpoints";
import type { Retention } from "../api/types";
import { mayManage, useUser } from "../auth/session";
import { Confirm } from "../ui/dialog";
import { Failure } from "../ui/failure";
import { toast } from "../ui/toasts";
import { Frame } from "../app/page-frame";
import { FormError } from "../ui/form-error";
import {
  defaults,
  formOf,
  pointsOf,
  ruleOf,
  shortened,
  spanWords,
  steps,
  type Form,
  type Key,
  type Typed,
  type Unit,
} from "./retention-model";
import "./settings.css";

export default function SettingsPage() {
  const user = useUser();
  const [rule, setRule] = useState<Retention | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const may = mayManage(user);
  const read = () => {
    setFailure(null);
    retention.get().then(setRule, setFailure);
  };
  useEffect(() => {
    if (may) retention.get().then(setRule, setFailure);
  }, [may]);
  return (
    <Frame title="Settings">
      <div className="page-head">
        <div>
          <h1>Settings</h1>
          <p className="soft">For everybody in {user.tenant_name}.</p>
        </div>
      </div>
      {!may ? (
        <p className="panel empty">Only an owner sees and changes them.</p>
      ) : failure !== null ? (
        <Failure error={failure} onRetry={read} />
      ) : rule ? (
        <RetentionForm saved={rule} onSaved={setRule} />
      ) : (
        <div className="panel settings-skeleton" aria-busy="true">
          <div className="skeleton" />
        </div>
      )}
    </Frame>
  );
}

interface FormProps {
  saved: Retention;
  onSaved: (rule: Retention) => void;
}

function RetentionForm({ saved, onSaved }: FormProps) {
  const [form, setForm] = useState<Form>(() => formOf(saved));
  const [asking, setAsking] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const { rule, wrong } = ruleOf(form);
  const changed = rule !== null && steps.some(({ key }) => rule[key] !== saved[key]);
  const touched = steps.some(({ key }) => {
    const was = formOf(saved)[key];
    return form[key].count !== was.count || form[key].unit !== was.unit;
  });
  const less = rule ? shortened(saved, rule) : [];
  const isDefault = rule !== null && steps.every(({ key }) => rule[key] === defaults[key]);
  const put = (key: Key, typed: Typed) => {
    setForm((form) => ({ ...form, [key]: typed }));
    setError(null);
  };
  const save = async (rule: Retention) => {
    const now = await retention.set(rule);
    onSaved(now);
    setForm(formOf(now));
    toast("Saved");
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!rule || !changed || busy) return;
    if (less.length > 0) {
      setAsking(true);
      return;
    }
    setBusy(true);
    save(rule)
      .catch(setError)
      .finally(() => setBusy(false));
  };
  return (
    // A form within a form is none: the question stands beside.
    <>
      <form className="panel retention" onSubmit={submit} aria-label="How long snapshots are kept">
        <h2>How long the past of a home is kept</h2>
        <p className="soft">
          While a workspace runs, its home is saved every few seconds. The older the snapshots, the fewer
          stay. What somebody named or asked for stays until it is deleted, and so does the newest.
        </p>
        <ol className="retention-steps">
          {steps.map(({ key, word }, index) => (
            <StepRow
              key={key}
              word={word}
              typed={form[key]}
              wrong={wrong[key] ?? ""}
              points={rule ? pointsWords(pointsOf(rule, index)) : ""}
              onChange={(typed) => put(key, typed)}
            />
          ))}
        </ol>
        {rule && <Summary rule={rule} />}
        <FormError error={error} />
        <div className="form-actions">
          <span className="soft small retention-state" role="status">
            {touched ? (rule ? (changed ? "Not saved yet" : "Saved") : "Not saved: see above") : "Saved"}
          </span>
          <button
            type="button"
            className="button"
            disabled={isDefault}
            onClick={() => setForm(formOf(defaults))}
          >
            Defaults
          </button>
          <button type="button" className="button" disabled={!touched} onClick={() => setForm(formOf(saved))}>
            Discard
          </button>
          <button className="button primary" disabled={!changed || busy}>
            {busy ? "Saving…" : "Save"}
          </button>
        </div>
      </form>
      {asking && rule && (
        <Confirm
          title="Keep less of the past?"
          text={
            <>
              <p>Snapshots that the new rule does not keep are deleted within hours, for good:</p>
              <ul className="retention-less">
                {less.map(({ key, word }) => (
                  <li key={key}>
                    {word}: {spanWords(rule[key])} instead of {spanWords(saved[key])}
                  </li>
                ))}
              </ul>
            </>
          }
          action="Keep less"
          onClose={() => setAsking(false)}
          onConfirm={() => save(rule)}
        />
      )}
    </>
  );
}

interface StepProps {
  word: string;
  typed: Typed;
  wrong: string;
  points: string;
  onChange: (typed: Typed) => void;
}

function StepRow({ word, typed, wrong, points, onChange }: StepProps) {
  const id = useId();
  return (
    <li className="retention-step">
      <label htmlFor={id}>
        {word}, <span className="soft">for</span>
      </label>
      <span className="retention-span">
        <input
          id={id}
          className="input"
          inputMode="numeric"
          autoComplete="off"
          maxLength={6}
          value={typed.count}
          aria-invalid={wrong ? true : undefined}
          aria-describedby={`${id}-about`}
          onChange={(event) => onChange({ ...typed, count: event.target.value })}
        />
        <select
          className="input"
          aria-label={`${word}: unit`}
          value={typed.unit}
          onChange={(event) => onChange({ ...typed, unit: event.target.value as Unit })}
        >
          <option value="hours">hours</option>
          <option value="days">days</option>
          <option value="years">years</option>
        </select>
      </span>
      <span id={`${id}-about`} className={wrong ? "wrong" : "soft small"} role={wrong ? "alert" : undefined}>
        {wrong || points}
      </span>
    </li>
  );
}

function pointsWords(points: number | null): string {
  if (points === null) return "one every few seconds";
  return points === 0 ? "adds none" : `${points.toLocaleString("en")} points at most`;
}

/** The rule as one sentence. */
function Summary({ rule }: { rule: Retention }) {
  const points = [1, 2, 3].reduce((sum, index) => sum + (pointsOf(rule, index) ?? 0), 0);
  return (
    <p className="notice retention-summary">
      A home as it was {spanWords(rule.daily_hours)} ago can still be seen. Beyond the last{" "}
      {spanWords(rule.all_hours).replace(/^1 /, "")}, one that is written to all the time has at most{" "}
      <strong>{points.toLocaleString("en")} points</strong> to go back to.
    </p>
  );
}
