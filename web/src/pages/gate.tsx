// The frame of the pages one sees before being signed in, and the form that they share.
import { useState, type FormEvent, type ReactNode } from "react";
import { ApiError, wordsOf } from "../api/client";
import { RequestId } from "../ui/failure";
import { Brand } from "../ui/parts";

export function Gate({ title, lead, children }: { title: string; lead?: ReactNode; children?: ReactNode }) {
  return (
    <main className="gate">
      <div className="panel gate-card">
        <Brand />
        <h1>{title}</h1>
        {lead && <p className="lead">{lead}</p>}
        {children}
      </div>
    </main>
  );
}

export interface Submission {
  busy: boolean;
  error: unknown;
  /** The message for one field, if the server named it. */
  field: (name: string) => string | undefined;
  submit: (event: FormEvent) => void;
}

/** A form's sending: busy while it lasts, the error in place, nothing sent twice. */
export function useSubmission(send: () => Promise<void>): Submission {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setError(null);
    send()
      .catch((failure: unknown) => setError(failure))
      .finally(() => setBusy(false));
  };
  const field = (name: string) => (error instanceof ApiError ? error.field(name) : undefined);
  return { busy, error, field, submit };
}

export function FormError({ error }: { error: unknown }) {
  if (error === null || error === undefined) return null;
  return (
    <p className="wrong" role="alert">
      {wordsOf(error)} <RequestId error={error} />
    </p>
  );
}
