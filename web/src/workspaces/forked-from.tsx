// Where a fork's home comes from.
import { useEffect, useState } from "react";
import { workspaces } from "../api/endpoints";
import type { Origin } from "../api/types";
import { Moment } from "../ui/time";
import { Link } from "../ui/router";

interface Props {
  origin: Origin;
  /** Where the page knows all that the person may see, nobody is asked. */
  known?: ReadonlyMap<string, { name: string }>;
}

export function ForkedFrom({ origin, known }: Props) {
  const [told, setTold] = useState<string | null>(null);
  const { workspace } = origin;
  const name = known ? (known.get(workspace)?.name ?? "") : told;
  useEffect(() => {
    if (known) return;
    let over = false;
    workspaces.get(workspace).then(
      (found) => over || setTold(found.name),
      // It may be deleted since, or not be the asker's to see.
      () => over || setTold(""),
    );
    return () => {
      over = true;
    };
  }, [workspace, known]);
  return (
    <>
      Forked from{" "}
      {name ? <Link href={`/workspaces/${workspace}/history`}>{name}</Link> : name === null ? "…" : "another"}{" "}
      <Moment at={origin.at} />
    </>
  );
}
