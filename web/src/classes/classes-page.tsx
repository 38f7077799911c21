// The classes that the user teaches.
import { useEffect, useState } from "react";
import { classesApi } from "../api/endpoints";
import type { ClassSummary } from "../api/types";
import { PageFrame } from "../app/page-frame";
import { FormError } from "../ui/form-error";
import { Icon } from "../ui/icons";
import { RelativeTime } from "../ui/time";
import { Link } from "../ui/router";
import { pluralize } from "./roster";
import "./classes.css";
import { CreateClassDialog } from "./create-class-dialog";

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
