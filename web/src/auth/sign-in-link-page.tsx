// Signs in with a one-time link: /welcome#<token>. Users without a password are asked to set one.
import { useEffect, useRef, useState } from "react";
import { authApi } from "../api/endpoints";
import { errorMessage } from "../api/client";
import { useSession } from "./session";
import { Field, NewPasswordField } from "../ui/form-fields";
import { Link, navigate, useFragment } from "../ui/router";
import { FormError } from "../ui/form-error";
import { CardPage } from "../ui/card-page";
import { useSubmission } from "../ui/use-submission";

export function WelcomePage() {
  const token = useFragment();
  return <SignInWithToken key={token} token={token} />;
}

function SignInWithToken({ token }: { token: string }) {
  const { user, setUser } = useSession();
  const [failure, setFailure] = useState("");
  const [signedIn, setSignedIn] = useState(false);
  const requested = useRef(false);
  useEffect(() => {
    if (requested.current) return;
    requested.current = true;
    if (!token) {
      setFailure("The link is incomplete: the part after # is missing. Copy the whole link.");
      return;
    }
    authApi.signInWithLink(token).then(
      (session) => {
        setUser(session.user);
        setSignedIn(true);
        if (session.user.has_password) navigate("/", { replace: true });
      },
      (error: unknown) => setFailure(errorMessage(error)),
    );
  }, [setUser, token]);
  if (failure) {
    return (
      <CardPage title="Cannot sign in with this link" lead={failure}>
        <Link className="button wide" href={user ? "/" : "/sign-in"}>
          {user ? "Go to workspaces" : "Sign in with a password"}
        </Link>
      </CardPage>
    );
  }
  if (!user || !signedIn) return <CardPage title="Signing in…" />;
  return <SetUp />;
}

function SetUp() {
  const { user, setUser } = useSession();
  const [name, setName] = useState(user?.name ?? "");
  const [email, setEmail] = useState(user?.email ?? "");
  const [password, setPassword] = useState("");
  const form = useSubmission(async () => {
    const changed = await authApi.updateCurrentUser({ name: name.trim(), email: email.trim() });
    await authApi.setPassword(password);
    setUser({ ...changed, has_password: true });
    navigate("/", { replace: true });
  });
  return (
    <CardPage
      title="Welcome"
      lead="You are signed in. Set an email address and a password to sign in again later."
    >
      <form className="form" onSubmit={form.submit}>
        <Field
          label="Name"
          autoComplete="name"
          required
          maxLength={100}
          value={name}
          error={form.field("name")}
          onChange={(event) => setName(event.target.value)}
        />
        <Field
          label="Email"
          type="email"
          autoComplete="username"
          required
          value={email}
          error={form.field("email")}
          onChange={(event) => setEmail(event.target.value)}
        />
        <NewPasswordField
          label="Password"
          autoFocus
          error={form.field("new")}
          value={password}
          onChange={(event) => setPassword(event.target.value)}
        />
        <FormError error={form.error} />
        <button className="button primary wide" disabled={form.busy}>
          Save and continue
        </button>
        <Link className="button wide" href="/">
          Skip for now
        </Link>
      </form>
    </CardPage>
  );
}
