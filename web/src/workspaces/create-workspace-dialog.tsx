// Creates a workspace: a name and a template.
import { uuidv4 } from "lib0/random";
import { useEffect, useState } from "react";
import { workspacesApi } from "../api/endpoints";
import type { Template, Workspace } from "../api/types";
import { Field } from "../ui/form-fields";
import { freeName, nameProblem } from "./names";
import { formatBytes } from "../ui/format";
import { FormDialog } from "../ui/form-dialog";
import { useSubmission } from "../ui/use-submission";

const MIB = 1024 * 1024;

interface Props {
  taken: ReadonlySet<string>;
  onClose: () => void;
  onCreated: (workspace: Workspace) => void;
}

export function CreateWorkspaceDialog({ taken, onClose, onCreated }: Props) {
  const [templates, setTemplates] = useState<Template[] | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const [chosen, setChosen] = useState("base");
  const [name, setName] = useState("");
  const [tried, setTried] = useState(false);
  const [attempt] = useState(() => uuidv4());
  useEffect(() => {
    workspacesApi.listTemplates().then((list) => {
      setTemplates(list);
      setChosen((chosen) => (list.some((one) => one.name === chosen) ? chosen : (list[0]?.name ?? "")));
    }, setFailure);
  }, []);
  const suggestion = freeName(chosen || "base", taken);
  const wanted = name.trim() || suggestion;
  const wrong =
    nameProblem(wanted) || (taken.has(wanted) ? "You already have a workspace with this name." : "");
  const form = useSubmission(async () => {
    setTried(true);
    if (wrong) return;
    // Another name or template is another request, so it needs another idempotency key.
    onCreated(await workspacesApi.create(wanted, chosen, `${attempt}-${wanted}-${chosen}`));
  });
  return (
    <FormDialog
      title="New workspace"
      form={form}
      action="Create workspace"
      disabled={!chosen || templates === null}
      error={failure}
      onClose={onClose}
    >
      <Field
        label="Name"
        autoComplete="off"
        spellCheck={false}
        placeholder={suggestion}
        maxLength={63}
        value={name}
        hint="Lowercase letters, digits and hyphens."
        error={(tried || name.length > 0 ? wrong : "") || form.field("name")}
        onChange={(event) => setName(event.target.value)}
      />
      <fieldset className="choices">
        <legend>Template</legend>
        {templates === null && !failure && <div className="skeleton choice-skeleton" />}
        {templates?.map((template) => (
          <label key={template.name} className="choice">
            <input
              type="radio"
              name="template"
              value={template.name}
              checked={chosen === template.name}
              onChange={() => setChosen(template.name)}
            />
            <span>
              <strong>{template.title}</strong>
              <span className="soft small">{template.description}</span>
              <span className="soft small">
                {template.resources.vcpus} CPU · {formatBytes(template.resources.memory_mib * MIB)} memory
                {" · "}
                {formatBytes(template.resources.home_mib * MIB)} home
              </span>
            </span>
          </label>
        ))}
      </fieldset>
    </FormDialog>
  );
}
