// Small parts that several pages show: a state, a moment, a labelled input.
import { useEffect, useId, useState, type ButtonHTMLAttributes, type InputHTMLAttributes } from "react";
import type { Workspace } from "../api/types";
import { copyText, toast } from "./toasts";
import { Icon } from "./icons";
import { duration, phaseWord, relative, toneOf } from "./words";

/** The time now, again every `ms` while the page is looked at. */
export function useNow(ms: number, live = true): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!live) return;
    const timer = setInterval(() => setNow(Date.now()), ms);
    return () => clearInterval(timer);
  }, [ms, live]);
  return now;
}

export function Moment({ at }: { at: string }) {
  const now = useNow(30_000);
  return (
    <time dateTime={at} title={new Date(at).toLocaleString()}>
      {relative(at, now)}
    </time>
  );
}

/** Time that passes since a moment. */
export function Since({ at, until }: { at: string; until?: string | undefined }) {
  const now = useNow(200, until === undefined);
  return <>{duration((until === undefined ? now : Date.parse(until)) - Date.parse(at))}</>;
}

export function State({ workspace }: { workspace: Pick<Workspace, "phase" | "failure" | "queue_position"> }) {
  const failed = workspace.failure && workspace.phase === "terminated";
  const place =
    workspace.phase === "queued" && workspace.queue_position ? ` (${workspace.queue_position})` : "";
  return (
    <span className="state" data-phase={workspace.phase}>
      <span className={`dot ${toneOf(workspace)}`} />
      {failed ? "Failed" : phaseWord(workspace.phase) + place}
    </span>
  );
}

interface FieldProps extends InputHTMLAttributes<HTMLInputElement> {
  label: string;
  hint?: string | undefined;
  wrong?: string | undefined;
}

export function Field({ label, hint, wrong, ...input }: FieldProps) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        className="input"
        aria-invalid={wrong ? true : undefined}
        aria-describedby={wrong || hint ? `${id}-about` : undefined}
        {...input}
      />
      {(wrong || hint) && (
        <p id={`${id}-about`} className={wrong ? "wrong" : "hint"}>
          {wrong || hint}
        </p>
      )}
    </div>
  );
}

/** As the controller wants it. */
const MIN_PASSWORD = 10;
const MAX_PASSWORD = 200;

export function NewPasswordField(props: FieldProps) {
  return (
    <Field
      type="password"
      autoComplete="new-password"
      required
      minLength={MIN_PASSWORD}
      maxLength={MAX_PASSWORD}
      hint={`At least ${MIN_PASSWORD} characters.`}
      {...props}
    />
  );
}

interface ReasonButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  /** Why it cannot be pressed now; empty if it can. */
  reason: string;
}

/** A button that says why it does nothing, also to those who cannot point at it. */
export function ReasonButton({ reason, className = "button", onClick, ...rest }: ReasonButtonProps) {
  const id = useId();
  return (
    <>
      <button
        type="button"
        className={className}
        aria-disabled={reason ? true : undefined}
        aria-describedby={reason ? id : undefined}
        title={reason || undefined}
        {...rest}
        onClick={reason ? () => toast(reason) : onClick}
      />
      {reason && (
        <span id={id} hidden>
          {reason}
        </span>
      )}
    </>
  );
}

interface ChoiceProps<T extends string> {
  label: string;
  options: readonly (readonly [value: T, word: string])[];
  value: T;
  onChange: (value: T) => void;
}

/** One of a few, all in sight. */
export function Choice<T extends string>({ label, options, value, onChange }: ChoiceProps<T>) {
  return (
    <div className="segments" role="group" aria-label={label}>
      {options.map(([option, word]) => (
        <button key={option} type="button" aria-pressed={option === value} onClick={() => onChange(option)}>
          {word}
        </button>
      ))}
    </div>
  );
}

export function Copyable({ text, what }: { text: string; what: string }) {
  return (
    <span className="command-line">
      <code>{text}</code>
      <button
        type="button"
        className="icon-button"
        aria-label={`Copy ${what}`}
        onClick={() => void copyText(text, what)}
      >
        <Icon name="copy" />
      </button>
    </span>
  );
}

export function Brand({ href = "/" }: { href?: string }) {
  return (
    <a className="brand" href={href}>
      <img src="/icon.svg" alt="" />
      <span className="wordmark">Burrow</span>
    </a>
  );
}
