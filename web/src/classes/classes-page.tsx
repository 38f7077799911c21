// The classes that one teaches.
import { useEffect, useState } from "react";
import { classes as calls, workspaces } from "../api/endpoints";
import type { ClassSummary, Template } from "../api/types";
import { FormDialog } from "../ui/form-dialog";
import { Frame } from "../app/page-frame";
import { useSubmission } from "../ui/use-submission";
import { FormError } from "../ui/form-error";
import { Icon } from "../ui/icons";
import { Field } from "../ui/form-fields";
import { Moment } from "../ui/time";
import { Link, navigate } from "../ui/router";
import { nameProblem } from "../workspaces/names";
import { counted } from "./roster";
import "./classes.css";

export default function ClassesPage() {
  const [known, setKnown] = useState<ClassSummary[] | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const [making, setMaking] = useState(false);
  useEffect(() => {
    calls.list().then(setKnown, setFailure);
  }, []);
  return (
    <Frame title="Classes">
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
          <p>A class is a roster, and a workspace for each student, started and stopped together.</p>
          <button className="button primary" onClick={() => setMaking(true)}>
            Create a class
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
                  {one.template} · made <Moment at={one.created_at} />
                </p>
              </div>
              <p>{counted(one.members, "student")}</p>
              <p className={one.running > 0 ? "" : "soft"}>{one.running} running</p>
            </li>
          ))}
        </ul>
      )}
      {making && <NewClass taken={(known ?? []).map((one) => one.name)} onClose={() => setMaking(false)} />}
    </Frame>
  );
}

function NewClass({ taken, onClose }: { taken: string[]; onClose: () => void }) {
  const [name, setName] = useState("");
  const [template, setTemplate] = useState("base");
  const [templates, setTemplates] = useState<Template[]>([]);
  const [failure, setFailure] = useState<unknown>(null);
  const [tried, setTried] = useState(false);
  useEffect(() => {
    workspaces.templates().then(setTemplates, setFailure);
  }, []);
  const problem = taken.includes(name) ? "There is a class of this name." : nameProblem(name);
  const form = useSubmission(async () => {
    setTried(true);
    if (problem) return;
    const made = await calls.create(name, template);
    navigate(`/classes/${made.id}`);
  });
  return (
    <FormDialog title="New class" form={form} action="Create" error={failure} onClose={onClose}>
      <Field
        label="Name"
        value={name}
        autoComplete="off"
        hint="Small letters, digits and hyphens."
        wrong={(tried || name ? problem : "") || form.field("name")}
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
