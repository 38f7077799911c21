// What one is asked in the history: a name for an instant, and whether a whole home is to be replaced.
import { useState } from "react";
import { snapshots } from "../api/calls";
import type { Snapshot, Workspace } from "../api/types";
import { FormDialog } from "../pages/form-dialog";
import { useSubmission } from "../pages/gate";
import { Confirm } from "../ui/dialog";
import { Field } from "../ui/parts";
import { wholeInstant } from "../ui/words";
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

interface RestoreProps {
  workspace: Workspace;
  point: Point;
  onConfirm: () => Promise<void>;
  onClose: () => void;
}

export function RestoreHomeDialog({ workspace, point, onConfirm, onClose }: RestoreProps) {
  return (
    <Confirm
      title="Restore the whole home?"
      text={
        <>
          Everything in the home of <strong>{workspace.name}</strong> becomes as it was on{" "}
          <strong>{wholeInstant(point.at)}</strong>. What it is now is kept as a snapshot first, so that it
          can be undone.
        </>
      }
      action="Restore the home"
      typed={workspace.name}
      onConfirm={onConfirm}
      onClose={onClose}
    />
  );
}
