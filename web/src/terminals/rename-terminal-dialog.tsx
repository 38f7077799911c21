// Renames a terminal, for all viewers.
import { useState } from "react";
import { terminalsApi } from "../api/endpoints";
import type { TerminalInfo } from "../api/agent";
import { Field } from "../ui/form-fields";
import { FormDialog } from "../ui/form-dialog";
import { useSubmission } from "../ui/use-submission";

interface Props {
  workspace: string;
  id: string;
  /** What it is called now. */
  name: string;
  onDone: (terminal: TerminalInfo) => void;
  onClose: () => void;
}

/** The agent's limit. */
const MAX_NAME = 100;

export function RenameTerminalDialog({ workspace, id, name: current, onDone, onClose }: Props) {
  const [name, setName] = useState(current);
  const form = useSubmission(async () => {
    onDone(await terminalsApi.rename(workspace, id, name.trim()));
    onClose();
  });
  return (
    <FormDialog title="Rename terminal" form={form} action="Rename" onClose={onClose}>
      <Field
        label="Name"
        hint="Leave it empty to show the title that programs set."
        autoComplete="off"
        spellCheck={false}
        maxLength={MAX_NAME}
        value={name}
        error={form.field("name")}
        onFocus={(event) => event.target.select()}
        onChange={(event) => setName(event.target.value)}
      />
    </FormDialog>
  );
}
