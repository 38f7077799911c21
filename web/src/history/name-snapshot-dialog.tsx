// What one is asked in the history: a name for an instant, and whether a whole home is to be replaced.
import { useState } from "react";
import { snapshots } from "../api/endpoints";
import type { Snapshot } from "../api/types";
import { FormDialog } from "../ui/form-dialog";
import { useSubmission } from "../ui/use-submission";
import { Field } from "../ui/form-fields";
import { wholeInstant } from "../ui/format";
import type { Point } from "./timeline-model";

/** As the server takes it. */
const MAX_NAME_BYTES = 100;

interface NameProps {
  workspace: string;
  point: Point;
  onDone: (snapshot: Snapshot) => void;
  onClose: () => void;
}

export function NameDialog({ workspace, point, onDone, onClose }: NameProps) {
  const [name, setName] = useState(point.name ?? "");
  const wanted = name.trim();
  const tooLong = new TextEncoder().encode(wanted).length > MAX_NAME_BYTES;
  const form = useSubmission(async () => {
    if (!wanted || tooLong) return;
    onDone(await snapshots.rename(workspace, point.id, wanted));
    onClose();
  });
  return (
    <FormDialog
      title="Name this point"
      form={form}
      action="Name it"
      disabled={!wanted || tooLong}
      onClose={onClose}
    >
      <Field
        label="Name"
        autoComplete="off"
        value={name}
        hint={`${wholeInstant(point.at)}. A named point is never thinned out.`}
        wrong={(tooLong ? `At most ${MAX_NAME_BYTES} bytes.` : "") || form.field("name")}
        onFocus={(event) => event.target.select()}
        onChange={(event) => setName(event.target.value)}
      />
    </FormDialog>
  );
}
