// Small parts that several pages show: a state, a moment, a labelled input.
import { useId, type InputHTMLAttributes } from "react";

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
