// Creates a user, who signs in with a link.
import { useState } from "react";
import { usersApi } from "../api/endpoints";
import type { CreatedUser, Role } from "../api/types";
import { Field } from "../ui/form-fields";
import { FormDialog } from "../ui/form-dialog";
import { useSubmission } from "../ui/use-submission";

interface Props {
  onClose: () => void;
  onCreated: (created: CreatedUser) => void;
}

export function NewUserDialog({ onClose, onCreated }: Props) {
  const [name, setName] = useState("");
  const [email, setEmail] = useState("");
  const [role, setRole] = useState<Role>("teacher");
  const form = useSubmission(async () =>
    onCreated(await usersApi.create({ name: name.trim(), email: email.trim(), role })),
  );
  return (
    <FormDialog title="New user" form={form} action="Create user" onClose={onClose}>
      <Field
        label="Name"
        required
        maxLength={100}
        error={form.field("name")}
        value={name}
        onChange={(event) => setName(event.target.value)}
      />
      <Field
        label="Email"
        type="email"
        required
        error={form.field("email")}
        value={email}
        onChange={(event) => setEmail(event.target.value)}
      />
      <div className="field">
        <label htmlFor="new-user-role">Role</label>
        <select
          id="new-user-role"
          className="input"
          value={role}
          onChange={(event) => setRole(event.target.value as Role)}
        >
          <option value="member">Member</option>
          <option value="auditor">Auditor</option>
          <option value="teacher">Teacher</option>
          <option value="owner">Owner</option>
        </select>
      </div>
    </FormDialog>
  );
}
