// Accepting an invitation: /join#<token>.
import { useEffect, useRef, useState } from "react";
import { auth } from "../api/endpoints";
import { wordsOf } from "../api/client";
import type { Invitation } from "../api/types";
import { useSession } from "./session";
import { Field, NewPasswordField } from "../ui/form-fields";
import { Link, navigate, takeFragment } from "../ui/router";
import { FormError } from "../ui/form-error";
import { Gate } from "../ui/card-page";
import { useSubmission } from "../ui/use-submission";

export function JoinPage() {
  const [token] = useState(takeFragment);
  const [invitation, setInvitation] = useState<Invitation | null>(null);
  const [failure, setFailure] = useState(
    token ? "" : "The link is incomplete: the part behind # is missing. Copy it whole.",
  );
  const asked = useRef(false);
  useEffect(() => {
    if (!token || asked.current) return;
    asked.current = true;
    auth.invitation(token).then(setInvitation, (error: unknown) => setFailure(wordsOf(error)));
  }, [token]);
  if (failure) {
    return (
      <Gate title="The invitation cannot be used" lead={failure}>
        <Link className="button wide" href="/sign-in">
          Sign in
        </Link>
      </Gate>
    );
  }
  if (!invitation) return <Gate title="Opening the invitation…" />;
  return <Accept token={token} invitation={invitation} />;
}

function Accept({ token, invitation }: { token: string; invitation: Invitation }) {
  const { set } = useSession();
  const [name, setName] = useState(invitation.name);
  const [password, setPassword] = useState("");
  const form = useSubmission(async () => {
    set((await auth.acceptInvitation(token, name.trim(), password)).user);
    navigate("/", { replace: true });
  });
  return (
    <Gate
      title={`Join ${invitation.class_name ?? invitation.tenant_name}`}
      lead={
        invitation.class_name
          ? `You are invited to the class ${invitation.class_name} at ${invitation.tenant_name}.`
          : `You are invited to ${invitation.tenant_name}.`
      }
    >
      <form className="form" onSubmit={form.submit}>
        <Field label="E-mail" type="email" autoComplete="username" readOnly value={invitation.email} />
        <Field
          label="Name"
          autoComplete="name"
          required
          maxLength={100}
          value={name}
          wrong={form.field("name")}
          onChange={(event) => setName(event.target.value)}
        />
        <NewPasswordField
          label="Password"
          autoFocus
          wrong={form.field("password")}
          value={password}
          onChange={(event) => setPassword(event.target.value)}
        />
        <FormError error={form.error} />
        <button className="button primary wide" disabled={form.busy}>
          Join
        </button>
      </form>
    </Gate>
  );
}
