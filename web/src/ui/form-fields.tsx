// Labelled inputs.
import { useId, type InputHTMLAttributes } from "react";

interface FieldProps extends InputHTMLAttributes<HTMLInputElement> {
  label: string;
  hint?: string | undefined;
  error?: string | undefined;
}

export function Field({ label, hint, error, ...input }: FieldProps) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        className="input"
        aria-invalid={error ? true : undefined}
        aria-describedby={error || hint ? `${id}-about` : undefined}
        {...input}
      />
      {(error || hint) && (
        <p id={`${id}-about`} className={error ? "wrong" : "hint"}>
          {error || hint}
        </p>
      )}
    </div>
  );
}

/** The controller's limits. */
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
