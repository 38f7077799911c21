// The dialog that makes a workspace: a name, a template, Enter.
import { useEffect, useState } from "react";
import { workspaces } from "../api/endpoints";
import type { Template, Workspace } from "../api/types";
import { Field } from "../ui/form-fields";
import { freeName, nameProblem } from "./names";
import { size } from "../ui/format";
import { FormDialog } from "../ui/form-dialog";
import { useSubmission } from "../ui/use-submission";

const MIB = 1024 * 1024;

interface Props {
  taken: ReadonlySet<string>;
  onClose: () => void;
  onMade: (workspace: Workspace) => void;
}

export function NewWorkspaceDialog({ taken, onClose, onMade }: Props) {
  const [templates, setTemplates] = useState<Template[] | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const [chosen, setChosen] = useState("base");
  const [name, setName] = useState("");
  const [tried, setTried] = useState(false);
  const [attempt] = useState(() => crypto.randomUUID());
  useEffect(() => {
    workspaces.templates().then((list) => {
      setTemplates(list);
      setChosen((chosen) => (list.some((one) => one.name === chosen) ? chosen : (list[0]?.name ?? "")));
    }, setFailure);
  }, []);
  const suggestion = freeName(chosen || "base", taken);
  const wanted = name.trim() || suggestion;
  const wrong = nameProblem(wanted) || (taken.has(wanted) ? "You have a workspace of this name." : "");
  const form = useSubmission(async () => {
    setTried(true);
    if (wrong) return;
    // Another name is another wish: the key must not give the first one's answer.
    onMade(await workspaces.create(wanted, chosen, `${attempt}-${wanted}-${chosen}`));
  });
  return (
    <FormDialog
      title="New workspace"
      form={form}
      action="Create and start"
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
        hint="Small letters, digits and hyphens."
        wrong={(tried || name.length > 0 ? wrong : "") || form.field("name")}
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
                {template.resources.vcpus} CPU · {size(template.resources.memory_mib * MIB)} memory ·{" "}
                {size(template.resources.home_mib * MIB)} home
              </span>
            </span>
          </label>
        ))}
      </fieldset>
    </FormDialog>
  );
}
