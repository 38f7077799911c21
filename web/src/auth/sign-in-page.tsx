// Signs in with email and password.
import { useEffect, useState } from "react";
import { authApi } from "../api/endpoints";
import { nextPath, useSession } from "./session";
import { Field } from "../ui/form-fields";
import { navigate } from "../ui/router";
import { FormError } from "../ui/form-error";
import { CardPage } from "../ui/card-page";
import { useSubmission } from "../ui/use-submission";

export function SignInPage() {
  const { user, setUser } = useSession();
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const form = useSubmission(async () => {
    setUser((await authApi.signInWithPassword(email.trim(), password)).user);
  });
  useEffect(() => {
    if (user) navigate(nextPath(), { replace: true });
  }, [user]);
  return (
    <CardPage title="Sign in">
      <form className="form" onSubmit={form.submit}>
        <Field
          label="Email"
          type="email"
          autoComplete="username"
          required
          autoFocus
          value={email}
          onChange={(event) => setEmail(event.target.value)}
        />
        <Field
          label="Password"
          type="password"
          autoComplete="current-password"
          required
          value={password}
          onChange={(event) => setPassword(event.target.value)}
        />
        <FormError error={form.error} />
        <button className="button primary wide" disabled={form.busy}>
          Sign in
        </button>
        <p className="soft small">
          No password yet? Open the one-time link that <code>burrow up</code> printed, or your invitation.
        </p>
      </form>
    </CardPage>
  );
}
