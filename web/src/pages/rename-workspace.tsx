// The dialog that gives a workspace another name.
import { useState } from "react";
import { workspaces } from "../api/calls";
import type { Workspace } from "../api/types";
import { Dialog } from "../ui/dialog";
import { Field } from "../ui/parts";
import { nameProblem } from "../ui/words";
import { FormError, useSubmission } from "./gate";

interface Props {
  workspace: Workspace;
  onClose: () => void;
  onDone: (workspace: Workspace) => void;
}

export function RenameDialog({ workspace, onClose, onDone }: Props) {
  const [name, setName] = useState(workspace.name);
  const wrong = nameProblem(name.trim());
  const form = useSubmission(async () => {
    if (wrong) return;
    onDone(await workspaces.rename(workspace.id, name.trim()));
    onClose();
  });
  return (
    <Dialog title={`Rename ${workspace.name}`} onClose={onClose}>
      <form className="form" onSubmit={form.submit}>
        <Field
          label="Name"
          autoComplete="off"
          spellCheck={false}
          maxLength={63}
          value={name}
          wrong={wrong || form.field("name")}
          onFocus={(event) => event.target.select()}
          onChange={(event) => setName(event.target.value)}
        />
        <FormError error={form.error} />
        <div className="form-actions">
          <button type="button" className="button" onClick={onClose}>
            Cancel
          </button>
          <button className="button primary" disabled={form.busy}>
            Rename
          </button>
        </div>
      </form>
    </Dialog>
  );
}
