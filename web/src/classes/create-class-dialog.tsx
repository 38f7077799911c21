// Creates a class: a name and a template.
import { useEffect, useState } from "react";
import { classesApi, workspacesApi } from "../api/endpoints";
import type { Template } from "../api/types";
import { FormDialog } from "../ui/form-dialog";
import { useSubmission } from "../ui/use-submission";
import { Field } from "../ui/form-fields";
import { navigate } from "../ui/router";
import { classNameProblem } from "./class-name";

export function CreateClassDialog({ taken, onClose }: { taken: string[]; onClose: () => void }) {
  const [name, setName] = useState("");
  const [template, setTemplate] = useState("base");
  const [templates, setTemplates] = useState<Template[]>([]);
  const [failure, setFailure] = useState<unknown>(null);
  const [tried, setTried] = useState(false);
  useEffect(() => {
    workspacesApi.listTemplates().then(setTemplates, setFailure);
  }, []);
  const problem = classNameProblem(name, taken);
  const form = useSubmission(async () => {
    setTried(true);
    if (problem) return;
    const made = await classesApi.create(name.trim(), template);
    navigate(`/classes/${made.id}`);
  });
  return (
    <FormDialog title="New class" form={form} action="Create class" error={failure} onClose={onClose}>
      <Field
        label="Name"
        value={name}
        autoComplete="off"
        maxLength={100}
        hint="Such as Algorithms, fall 2026."
        error={(tried || name ? problem : "") || form.field("name")}
        onChange={(event) => setName(event.target.value)}
      />
      <div className="field">
        <label htmlFor="class-template">Template</label>
        <select
          id="class-template"
          className="input"
          value={template}
          onChange={(event) => setTemplate(event.target.value)}
        >
          {(templates.length > 0 ? templates : [{ name: "base", title: "base" }]).map((one) => (
            <option key={one.name} value={one.name}>
              {one.title}
            </option>
          ))}
        </select>
      </div>
    </FormDialog>
  );
}
