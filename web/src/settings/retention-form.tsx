// The form of the retention policy. Shortening it needs a confirmation.
import { useId, useState, type FormEvent } from "react";
import { retentionApi } from "../api/endpoints";
import type { Retention } from "../api/types";
import { ConfirmDialog } from "../ui/dialog";
import { toast } from "../ui/toasts";
import { FormError } from "../ui/form-error";
import {
  defaults,
  inputsOf,
  keptSnapshots,
  parseInputs,
  shortenedSteps,
  formatHours,
  steps,
  type RetentionInput,
  type Key,
  type StepInput,
  type Unit,
} from "./retention-model";

interface FormProps {
  saved: Retention;
  onSaved: (policy: Retention) => void;
}

export function RetentionForm({ saved, onSaved }: FormProps) {
  const [form, setForm] = useState<RetentionInput>(() => inputsOf(saved));
  const [asking, setAsking] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const { policy, errors } = parseInputs(form);
  const changed = policy !== null && steps.some(({ key }) => policy[key] !== saved[key]);
  const touched = steps.some(({ key }) => {
    const was = inputsOf(saved)[key];
    return form[key].count !== was.count || form[key].unit !== was.unit;
  });
  const less = policy ? shortenedSteps(saved, policy) : [];
  const isDefault = policy !== null && steps.every(({ key }) => policy[key] === defaults[key]);
  const put = (key: Key, typed: StepInput) => {
    setForm((form) => ({ ...form, [key]: typed }));
    setError(null);
  };
  const save = async (policy: Retention) => {
    const now = await retentionApi.set(policy);
    onSaved(now);
    setForm(inputsOf(now));
    toast("Saved");
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!policy || !changed || busy) return;
    if (less.length > 0) {
      setAsking(true);
      return;
    }
    setBusy(true);
    save(policy)
      .catch(setError)
      .finally(() => setBusy(false));
  };
  return (
    // A dialog's form cannot be nested in a form, so it is rendered next to it.
    <>
      <form className="panel retention" onSubmit={submit} aria-label="Snapshot retention">
        <h2>Snapshot retention</h2>
        <p className="soft">
          A running workspace creates a snapshot every few seconds. Older snapshots are pruned by this policy.
          Named and requested snapshots, and the newest one, are kept until they are deleted.
        </p>
        <ol className="retention-steps">
          {steps.map(({ key, label }, index) => (
            <StepRow
              key={key}
              word={label}
              typed={form[key]}
              wrong={errors[key] ?? ""}
              points={policy ? pointsWords(keptSnapshots(policy, index)) : ""}
              onChange={(typed) => put(key, typed)}
            />
          ))}
        </ol>
        {policy && <Summary policy={policy} />}
        <FormError error={error} />
        <div className="form-actions">
          <span className="soft small retention-state" role="status">
            {touched
              ? policy
                ? changed
                  ? "Unsaved changes"
                  : "Saved"
                : "Not saved: fix the errors above"
              : "Saved"}
          </span>
          <button
            type="button"
            className="button"
            disabled={isDefault}
            onClick={() => setForm(inputsOf(defaults))}
          >
            Restore defaults
          </button>
          <button
            type="button"
            className="button"
            disabled={!touched}
            onClick={() => setForm(inputsOf(saved))}
          >
            Discard
          </button>
          <button className="button primary" disabled={!changed || busy}>
            {busy ? "Saving…" : "Save"}
          </button>
        </div>
      </form>
      {asking && policy && (
        <ConfirmDialog
          title="Shorten retention?"
          text={
            <>
              <p>Snapshots that the new policy does not keep are permanently deleted within hours:</p>
              <ul className="retention-less">
                {less.map(({ key, label }) => (
                  <li key={key}>
                    {label}: {formatHours(policy[key])} instead of {formatHours(saved[key])}
                  </li>
                ))}
              </ul>
            </>
          }
          action="Shorten retention"
          onClose={() => setAsking(false)}
          onConfirm={() => save(policy)}
        />
      )}
    </>
  );
}

interface StepProps {
  word: string;
  typed: StepInput;
  wrong: string;
  points: string;
  onChange: (typed: StepInput) => void;
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
  return points === 0 ? "adds none" : `at most ${points.toLocaleString("en")} snapshots`;
}

/** The policy in one sentence. */
function Summary({ policy }: { policy: Retention }) {
  const points = [1, 2, 3].reduce((sum, index) => sum + (keptSnapshots(policy, index) ?? 0), 0);
  return (
    <p className="notice retention-summary">
      Snapshots are kept for up to {formatHours(policy.daily_hours)}. A home with constant changes keeps at
      most <strong>{points.toLocaleString("en")} snapshots</strong> older than {formatHours(policy.all_hours)}
      .
    </p>
  );
}
