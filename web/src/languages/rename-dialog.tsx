// Asks for the new name of a symbol.
import { useState } from "react";
import { displayName } from "../files/paths";
import { FormDialog } from "../ui/form-dialog";
import { Field } from "../ui/form-fields";
import { useSubmission } from "../ui/use-submission";

interface Props {
  name: string;
  onRename: (name: string) => Promise<void>;
  onClose: () => void;
}

export function RenameDialog({ name, onRename, onClose }: Props) {
  const [next, setNext] = useState(name);
  const form = useSubmission(() => onRename(next.trim()));
  return (
    <FormDialog
      title={`Rename ${displayName(name)}`}
      form={form}
      action="Rename"
      disabled={next.trim() === "" || next.trim() === name}
      onClose={onClose}
    >
      <Field
        label="New name"
        hint="It is changed in all files that use it."
        autoComplete="off"
        spellCheck={false}
        value={next}
        onFocus={(event) => event.target.select()}
        onChange={(event) => setNext(event.target.value)}
      />
    </FormDialog>
  );
}
