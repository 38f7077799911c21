// Accepts an invitation: /join#<token>.
import { useEffect, useRef, useState } from "react";
import { authApi } from "../api/endpoints";
import { errorMessage } from "../api/client";
import type { Invitation } from "../api/types";
import { useSession } from "./session";
import { Field, NewPasswordField } from "../ui/form-fields";
import { Link, navigate, useFragment } from "../ui/router";
import { FormError } from "../ui/form-error";
import { CardPage } from "../ui/card-page";
import { useSubmission } from "../ui/use-submission";

export function JoinPage() {
  const token = useFragment();
  return <JoinWithToken key={token} token={token} />;
}

function JoinWithToken({ token }: { token: string }) {
  const [invitation, setInvitation] = useState<Invitation | null>(null);
  const [failure, setFailure] = useState(
    token ? "" : "The link is incomplete: the part after # is missing. Copy the whole link.",
  );
  const requested = useRef(false);
  useEffect(() => {
    if (!token || requested.current) return;
    requested.current = true;
    authApi.previewInvitation(token).then(setInvitation, (error: unknown) => setFailure(errorMessage(error)));
  }, [token]);
  if (failure) {
    return (
      <CardPage title="Cannot use this invitation" lead={failure}>
        <Link className="button wide" href="/sign-in">
          Sign in
        </Link>
      </CardPage>
    );
  }
  if (!invitation) return <CardPage title="Loading the invitation…" />;
  return <Accept token={token} invitation={invitation} />;
}

function Accept({ token, invitation }: { token: string; invitation: Invitation }) {
  const { user, setUser } = useSession();
  const isOther = user !== null && user.email.toLowerCase() !== invitation.email.toLowerCase();
  const [name, setName] = useState(invitation.name);
  const [password, setPassword] = useState("");
  const form = useSubmission(async () => {
    setUser((await authApi.acceptInvitation(token, name.trim(), password)).user);
    navigate("/", { replace: true });
  });
  return (
    <CardPage
      title={`Join ${invitation.class_name ?? invitation.tenant_name}`}
      lead={
        invitation.class_name
          ? `You are invited to the class ${invitation.class_name} at ${invitation.tenant_name}.`
          : `You are invited to ${invitation.tenant_name}.`
      }
    >
      <form className="form" onSubmit={form.submit}>
        {isOther && (
          <p className="notice" role="note">
            You are signed in as {user.name} ({user.email}). This invitation is for {invitation.email}:
            joining signs you out of the other account in this browser.
          </p>
        )}
        <Field label="Email" type="email" autoComplete="username" readOnly value={invitation.email} />
        <Field
          label="Name"
          autoComplete="name"
          required
          maxLength={100}
          value={name}
          error={form.field("name")}
          onChange={(event) => setName(event.target.value)}
        />
        <NewPasswordField
          label="Password"
          autoFocus
          error={form.field("password")}
          value={password}
          onChange={(event) => setPassword(event.target.value)}
        />
        <FormError error={form.error} />
        <button className="button primary wide" disabled={form.busy}>
          Join
        </button>
      </form>
    </CardPage>
  );
}
