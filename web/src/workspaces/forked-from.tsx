// "Forked from": the workspace and time that a fork's home comes from.
import { useEffect, useState } from "react";
import { workspacesApi } from "../api/endpoints";
import type { Origin } from "../api/types";
import { RelativeTime } from "../ui/time";
import { Link } from "../ui/router";

interface Props {
  origin: Origin;
  /** The workspaces that the user can see, if the page has them. Otherwise the origin is requested. */
  known?: ReadonlyMap<string, { name: string }>;
}

export function ForkedFrom({ origin, known }: Props) {
  const [loaded, setLoaded] = useState<string | null>(null);
  const { workspace } = origin;
  const name = known ? (known.get(workspace)?.name ?? "") : loaded;
  useEffect(() => {
    if (known) return;
    let over = false;
    workspacesApi.get(workspace).then(
      (found) => over || setLoaded(found.name),
      // The origin may be deleted, or the user has no access to it.
      () => over || setLoaded(""),
    );
    return () => {
      over = true;
    };
  }, [workspace, known]);
  return (
    <>
      Forked from{" "}
      {name ? (
        <Link href={`/workspaces/${workspace}/history`}>{name}</Link>
      ) : name === null ? (
        "…"
      ) : (
        "another workspace"
      )}{" "}
      <RelativeTime at={origin.at} />
    </>
  );
}
