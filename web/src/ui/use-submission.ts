// State of a form while it is being submitted.
import { useState, type FormEvent } from "react";
import { ApiError } from "../api/client";

export interface Submission {
  busy: boolean;
  error: unknown;
  /** The server's message for one field, if any. */
  field: (name: string) => string | undefined;
  submit: (event: FormEvent) => void;
}

/** Submits a form once at a time and keeps its error. */
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
