// Renames a workspace.
import { useState } from "react";
import { workspacesApi } from "../api/endpoints";
import type { Workspace } from "../api/types";
import { Field } from "../ui/form-fields";
import { nameProblem } from "./names";
import { FormDialog } from "../ui/form-dialog";
import { useSubmission } from "../ui/use-submission";

interface Props {
  workspace: Workspace;
  onClose: () => void;
  onDone: (workspace: Workspace) => void;
}

export function RenameWorkspaceDialog({ workspace, onClose, onDone }: Props) {
  const [name, setName] = useState(workspace.name);
  const wrong = nameProblem(name.trim());
  const form = useSubmission(async () => {
    if (wrong) return;
    onDone(await workspacesApi.rename(workspace.id, name.trim()));
    onClose();
  });
  return (
    <FormDialog title={`Rename ${workspace.name}`} form={form} action="Rename" onClose={onClose}>
      <Field
        label="Name"
        autoComplete="off"
        spellCheck={false}
        maxLength={63}
        value={name}
        error={wrong || form.field("name")}
        onFocus={(event) => event.target.select()}
        onChange={(event) => setName(event.target.value)}
      />
    </FormDialog>
  );
}
