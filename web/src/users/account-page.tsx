// The user's own name, email and password.
import { useState } from "react";
import { authApi } from "../api/endpoints";
import { useSession, useUser } from "../auth/session";
import { Field, NewPasswordField } from "../ui/form-fields";
import { toast } from "../ui/toasts";
import { PageFrame } from "../app/page-frame";
import { FormError } from "../ui/form-error";
import { useSubmission } from "../ui/use-submission";
import "./account.css";

export default function AccountPage() {
  return (
    <PageFrame title="Account">
      <div className="page-head">
        <h1>Account</h1>
      </div>
      <div className="account">
        <Profile />
        <Password />
      </div>
    </PageFrame>
  );
}

function Profile() {
  const user = useUser();
  const { setUser } = useSession();
  const [name, setName] = useState(user.name);
  const [email, setEmail] = useState(user.email);
  const form = useSubmission(async () => {
    setUser(await authApi.updateCurrentUser({ name: name.trim(), email: email.trim() }));
    toast("Saved");
  });
  return (
    <form className="panel form account-part" onSubmit={form.submit}>
      <h2>Profile</h2>
      <Field
        label="Name"
        autoComplete="name"
        required
        maxLength={100}
        error={form.field("name")}
        value={name}
        onChange={(event) => setName(event.target.value)}
      />
      <Field
        label="Email"
        type="email"
        autoComplete="username"
        required
        error={form.field("email")}
        value={email}
        onChange={(event) => setEmail(event.target.value)}
      />
      <p className="soft small">
        {user.role[0]?.toUpperCase() + user.role.slice(1)} of {user.tenant_name}
      </p>
      <FormError error={form.error} />
      <div className="form-actions">
        <button className="button primary" disabled={form.busy}>
          Save
        </button>
      </div>
    </form>
  );
}

function Password() {
  const user = useUser();
  const { setUser } = useSession();
  const [current, setCurrent] = useState("");
  const [next, setNext] = useState("");
  const form = useSubmission(async () => {
    await authApi.setPassword(next, current);
    setCurrent("");
    setNext("");
    setUser({ ...user, has_password: true });
    toast("Password changed. Other sessions are signed out.");
  });
  return (
    <form className="panel form account-part" onSubmit={form.submit}>
      <h2>{user.has_password ? "Change password" : "Set a password"}</h2>
      {user.has_password && (
        <Field
          label="Current password"
          type="password"
          autoComplete="current-password"
          hint="Not needed if you just signed in with a link."
          error={form.field("current")}
          value={current}
          onChange={(event) => setCurrent(event.target.value)}
        />
      )}
      <NewPasswordField
        label="New password"
        error={form.field("new")}
        value={next}
        onChange={(event) => setNext(event.target.value)}
      />
      <FormError error={form.error} />
      <div className="form-actions">
        <button className="button primary" disabled={form.busy}>
          {user.has_password ? "Change password" : "Set password"}
        </button>
      </div>
    </form>
  );
}
