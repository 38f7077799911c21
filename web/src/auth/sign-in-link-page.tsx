// A one-time sign-in link: /welcome#<token>. Signs in, and lets a person without one set e-mail and password.
import { useEffect, useRef, useState } from "react";
import { auth } from "../api/endpoints";
import { wordsOf } from "../api/client";
import { useSession } from "./session";
import { Field, NewPasswordField } from "../ui/form-fields";
import { Link, navigate, takeFragment } from "../ui/router";
import { FormError } from "../ui/form-error";
import { Gate } from "../ui/card-page";
import { useSubmission } from "../ui/use-submission";

export function WelcomePage() {
  const { user, set } = useSession();
  const [failure, setFailure] = useState("");
  const [signedIn, setSignedIn] = useState(false);
  const asked = useRef(false);
  useEffect(() => {
    if (asked.current) return;
    asked.current = true;
    const token = takeFragment();
    if (!token) {
      setFailure("The link is incomplete: the part behind # is missing. Copy it whole.");
      return;
    }
    auth.byLink(token).then(
      (session) => {
        set(session.user);
        setSignedIn(true);
        if (session.user.has_password) navigate("/", { replace: true });
      },
      (error: unknown) => setFailure(wordsOf(error)),
    );
  }, [set]);
  if (failure) {
    return (
      <Gate title="The link does not sign you in" lead={failure}>
        <Link className="button wide" href={user ? "/" : "/sign-in"}>
          {user ? "To the workspaces" : "Sign in with a password"}
        </Link>
      </Gate>
    );
  }
  if (!user || !signedIn) return <Gate title="Signing in…" />;
  return <SetUp />;
}

function SetUp() {
  const { user, set } = useSession();
  const [name, setName] = useState(user?.name ?? "");
  const [email, setEmail] = useState(user?.email ?? "");
  const [password, setPassword] = useState("");
  const form = useSubmission(async () => {
    const changed = await auth.editMe({ name: name.trim(), email: email.trim() });
    await auth.setPassword(password);
    set({ ...changed, has_password: true });
    navigate("/", { replace: true });
  });
  return (
    <Gate title="Welcome" lead="You are signed in. Set an e-mail and a password to sign in again later.">
      <form className="form" onSubmit={form.submit}>
        <Field
          label="Name"
          autoComplete="name"
          required
          maxLength={100}
          value={name}
          wrong={form.field("name")}
          onChange={(event) => setName(event.target.value)}
        />
        <Field
          label="E-mail"
          type="email"
          autoComplete="username"
          required
          value={email}
          wrong={form.field("email")}
          onChange={(event) => setEmail(event.target.value)}
        />
        <NewPasswordField
          label="Password"
          autoFocus
          wrong={form.field("new")}
          value={password}
          onChange={(event) => setPassword(event.target.value)}
        />
        <FormError error={form.error} />
        <button className="button primary wide" disabled={form.busy}>
          Save and go on
        </button>
        <Link className="button wide" href="/">
          Later
        </Link>
      </form>
    </Gate>
  );
}
