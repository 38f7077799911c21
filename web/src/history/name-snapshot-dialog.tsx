// Names a snapshot.
import { useState } from "react";
import { snapshotsApi } from "../api/endpoints";
import type { Snapshot } from "../api/types";
import { FormDialog } from "../ui/form-dialog";
import { useSubmission } from "../ui/use-submission";
import { Field } from "../ui/form-fields";
import { formatFullInstant } from "../ui/format";
import type { Point } from "./timeline-model";

/** The server's limit. */
const MAX_NAME_BYTES = 100;

interface NameProps {
  workspace: string;
  point: Point;
  onDone: (snapshot: Snapshot) => void;
  onClose: () => void;
}

export function NameSnapshotDialog({ workspace, point, onDone, onClose }: NameProps) {
  const [name, setName] = useState(point.name ?? "");
  const wanted = name.trim();
  const tooLong = new TextEncoder().encode(wanted).length > MAX_NAME_BYTES;
  const form = useSubmission(async () => {
    if (!wanted || tooLong) return;
    onDone(await snapshotsApi.rename(workspace, point.id, wanted));
    onClose();
  });
  return (
    <FormDialog
      title="Name snapshot"
      form={form}
      action="Save"
      disabled={!wanted || tooLong}
      onClose={onClose}
    >
      <Field
        label="Name"
        autoComplete="off"
        value={name}
        hint={`${formatFullInstant(point.at)}. A named snapshot is never pruned.`}
        error={(tooLong ? `The limit is ${MAX_NAME_BYTES} bytes.` : "") || form.field("name")}
        onFocus={(event) => event.target.select()}
        onChange={(event) => setName(event.target.value)}
      />
    </FormDialog>
  );
}
