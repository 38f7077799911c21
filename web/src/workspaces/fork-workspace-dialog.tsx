// The dialog that makes a workspace of another's home: as it is now, or as it was.
import { useEffect, useState } from "react";
import { snapshots, workspaces } from "../api/endpoints";
import type { Snapshot, Workspace } from "../api/types";
import { Field } from "../ui/form-fields";
import { navigate } from "../ui/router";
import { nameProblem } from "./names";
import { wholeInstant } from "../ui/format";
import { FormDialog } from "../ui/form-dialog";
import { useSubmission } from "../ui/use-submission";
import { freeName } from "./names";

/** The longest that leaves room for the ending and a number. */
const MAX_STEM = 50;

/** `algo` → `algo-fork`, and so for a fork of a fork. */
const forkName = (name: string): string =>
  `${name
    .replace(/-fork(-\d+)?$/, "")
    .slice(0, MAX_STEM)
    .replace(/-$/, "")}-fork`;

interface Props {
  workspace: Workspace;
  /** None: as it is now. */
  snapshot: Snapshot | null;
  onClose: () => void;
}

export function ForkDialog({ workspace, snapshot, onClose }: Props) {
  const [name, setName] = useState("");
  const [start, setStart] = useState(true);
  const [taken, setTaken] = useState<ReadonlySet<string>>(new Set([workspace.name]));
  useEffect(() => {
    // A name that is taken is refused by the server too: this is only for the suggestion.
    workspaces.list().then(
      (list) => setTaken(new Set(list.map((one) => one.name))),
      () => undefined,
    );
  }, []);
  const suggestion = freeName(forkName(workspace.name), taken);
  const wanted = name.trim() || suggestion;
  const wrong = nameProblem(wanted);
  const form = useSubmission(async () => {
    if (wrong) return;
    const made = await snapshots.fork(workspace.id, {
      name: wanted,
      ...(snapshot ? { snapshot: snapshot.id } : {}),
      start,
    });
    navigate(`/workspaces/${made.id}`);
  });
  const from = snapshot
    ? `as it was on ${wholeInstant(Date.parse(snapshot.created_at))}`
    : workspace.phase === "running"
      ? "as it is now; the machine goes on"
      : "as it is now";
  return (
    <FormDialog
      title={`Fork ${workspace.name}`}
      form={form}
      action={form.busy ? "Forking…" : "Fork"}
      onClose={onClose}
    >
      <p>A new workspace of yours whose home begins as this one&rsquo;s, {from}. No data is copied.</p>
      <Field
        label="Name"
        autoComplete="off"
        spellCheck={false}
        placeholder={suggestion}
        maxLength={63}
        value={name}
        hint="Small letters, digits and hyphens."
        wrong={wrong || form.field("name")}
        onChange={(event) => setName(event.target.value)}
      />
      <label className="check">
        <input type="checkbox" checked={start} onChange={(event) => setStart(event.target.checked)} />
        Start it at once
      </label>
    </FormDialog>
  );
}
