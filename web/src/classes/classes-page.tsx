// The classes that the user teaches.
import { useEffect, useState } from "react";
import { classesApi, workspacesApi } from "../api/endpoints";
import type { ClassSummary, Template } from "../api/types";
import { FormDialog } from "../ui/form-dialog";
import { PageFrame } from "../app/page-frame";
import { useSubmission } from "../ui/use-submission";
import { FormError } from "../ui/form-error";
import { Icon } from "../ui/icons";
import { Field } from "../ui/form-fields";
import { RelativeTime } from "../ui/time";
import { Link, navigate } from "../ui/router";
import { nameProblem } from "../workspaces/names";
import { pluralize } from "./roster";
import "./classes.css";

export default function ClassesPage() {
  const [known, setKnown] = useState<ClassSummary[] | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const [making, setMaking] = useState(false);
  useEffect(() => {
    classesApi.list().then(setKnown, setFailure);
  }, []);
  return (
    <PageFrame title="Classes">
      <div className="page-head">
        <h1>Classes</h1>
        <div className="actions">
          <button className="button primary" onClick={() => setMaking(true)}>
            <Icon name="plus" /> New class
          </button>
        </div>
      </div>
      <FormError error={failure} />
      {known === null && !failure && (
        <div className="panel list-skeleton" aria-hidden="true">
          <div className="skeleton" />
        </div>
      )}
      {known?.length === 0 && (
        <div className="panel empty">
          <p>A class is a list of students with a workspace for each, started and stopped together.</p>
          <button className="button primary" onClick={() => setMaking(true)}>
            Create class
          </button>
        </div>
      )}
      {known && known.length > 0 && (
        <ul className="panel class-list">
          {known.map((one) => (
            <li key={one.id}>
              <div>
                <Link className="workspace-name" href={`/classes/${one.id}`}>
                  {one.name}
                </Link>
                <p className="under">
                  {one.template} · created <RelativeTime at={one.created_at} />
                </p>
              </div>
              <p>{pluralize(one.members, "student")}</p>
              <p className={one.running > 0 ? "" : "soft"}>{one.running} running</p>
            </li>
          ))}
        </ul>
      )}
      {making && (
        <CreateClassDialog taken={(known ?? []).map((one) => one.name)} onClose={() => setMaking(false)} />
      )}
    </PageFrame>
  );
}

function CreateClassDialog({ taken, onClose }: { taken: string[]; onClose: () => void }) {
  const [name, setName] = useState("");
  const [template, setTemplate] = useState("base");
  const [templates, setTemplates] = useState<Template[]>([]);
  const [failure, setFailure] = useState<unknown>(null);
  const [tried, setTried] = useState(false);
  useEffect(() => {
    workspacesApi.listTemplates().then(setTemplates, setFailure);
  }, []);
  const problem = taken.includes(name) ? "A class with this name already exists." : nameProblem(name);
  const form = useSubmission(async () => {
    setTried(true);
    if (problem) return;
    const made = await classesApi.create(name, template);
    navigate(`/classes/${made.id}`);
  });
  return (
    <FormDialog title="New class" form={form} action="Create class" error={failure} onClose={onClose}>
      <Field
        label="Name"
        value={name}
        autoComplete="off"
        hint="Lowercase letters, digits and hyphens."
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
