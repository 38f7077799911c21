// Forks a workspace, from its home now or from a snapshot.
import { useEffect, useId, useState } from "react";
import { snapshotsApi, workspacesApi } from "../api/endpoints";
import type { Snapshot, Template, Workspace } from "../api/types";
import { Field } from "../ui/form-fields";
import { navigate } from "../ui/router";
import { nameProblem } from "./names";
import { formatFullInstant } from "../ui/format";
import { FormDialog } from "../ui/form-dialog";
import { useSubmission } from "../ui/use-submission";
import { freeName } from "./names";

/** Leaves room for the suffix and a number. */
const MAX_STEM = 50;

/** `algo` → `algo-fork`. A fork of `algo-fork` is named `algo-fork` with a number. */
const forkName = (name: string): string =>
  `${name
    .replace(/-fork(-\d+)?$/, "")
    .slice(0, MAX_STEM)
    .replace(/-$/, "")}-fork`;

interface Props {
  workspace: Workspace;
  /** Null: the home as it is now. */
  snapshot: Snapshot | null;
  onClose: () => void;
}

export function ForkWorkspaceDialog({ workspace, snapshot, onClose }: Props) {
  const [name, setName] = useState("");
  const [start, setStart] = useState(true);
  const [templates, setTemplates] = useState<Template[]>([]);
  const [template, setTemplate] = useState("");
  const templateId = useId();
  const [taken, setTaken] = useState<ReadonlySet<string>>(new Set([workspace.name]));
  useEffect(() => {
    // Only for the suggestion: the server refuses a name that is taken.
    workspacesApi.list().then(
      (list) => setTaken(new Set(list.map((one) => one.name))),
      () => undefined,
    );
    // Without the list the fork keeps the template of its origin.
    workspacesApi.listTemplates().then(setTemplates, () => undefined);
  }, []);
  const suggestion = freeName(forkName(workspace.name), taken);
  const wanted = name.trim() || suggestion;
  const wrong = nameProblem(wanted);
  const form = useSubmission(async () => {
    if (wrong) return;
    const made = await snapshotsApi.fork(workspace.id, {
      name: wanted,
      ...(snapshot ? { snapshot: snapshot.id } : {}),
      ...(template ? { template } : {}),
      start,
    });
    navigate(`/workspaces/${made.id}`);
  });
  const from = snapshot
    ? `from ${formatFullInstant(Date.parse(snapshot.created_at))}`
    : workspace.phase === "running"
      ? "as it is now; this workspace keeps running"
      : "as it is now";
  return (
    <FormDialog
      title={`Fork ${workspace.name}`}
      form={form}
      action={form.busy ? "Forking…" : "Create fork"}
      onClose={onClose}
    >
      <p>Creates a new workspace that starts with this home, {from}. No data is copied.</p>
      <Field
        label="Name"
        autoComplete="off"
        spellCheck={false}
        placeholder={suggestion}
        maxLength={63}
        value={name}
        hint="Lowercase letters, digits and hyphens."
        error={wrong || form.field("name")}
        onChange={(event) => setName(event.target.value)}
      />
      {templates.length > 1 && (
        <div className="field">
          <label htmlFor={templateId}>Template</label>
          <select
            id={templateId}
            className="input"
            aria-invalid={form.field("template") ? true : undefined}
            aria-describedby={`${templateId}-about`}
            value={template}
            onChange={(event) => setTemplate(event.target.value)}
          >
            <option value="">As {workspace.name}</option>
            {templates.map((one) => (
              <option key={one.name} value={one.name}>
                {one.title}
              </option>
            ))}
          </select>
          <p id={`${templateId}-about`} className={form.field("template") ? "wrong" : "hint"}>
            {form.field("template") || "Another template moves the home to another size or tier."}
          </p>
        </div>
      )}
      <label className="check">
        <input type="checkbox" checked={start} onChange={(event) => setStart(event.target.checked)} />
        Start the fork
      </label>
    </FormDialog>
  );
}
