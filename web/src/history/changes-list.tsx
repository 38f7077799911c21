// The paths that changed between two snapshots.
import { useEffect, useState } from "react";
import { snapshotsApi } from "../api/endpoints";
import type { Change, ChangeKind, Changes } from "../api/types";
import { Failure } from "../ui/failure";
import { Icon } from "../ui/icons";
import { formatBytes } from "../ui/format";
import { nameOf, parentOf, displayName } from "../files/paths";
import { TreeSkeleton } from "../files/tree-skeleton";

/** Rows shown at first, and added by "Show more". */
const PAGE_ROWS = 300;

interface Props {
  workspace: string;
  from: string;
  /** Null: the latest snapshot. */
  to: string | null;
  active: string | null;
  onOpen: (path: string) => void;
}

interface Read {
  key: string;
  changes: Changes;
}

const letters: Record<ChangeKind, string> = { added: "A", removed: "D", changed: "M" };
const words: Record<ChangeKind, string> = { added: "Added", removed: "Removed", changed: "Changed" };

export function ChangesList({ workspace, from, to, active, onOpen }: Props) {
  const [read, setRead] = useState<Read | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const [attempt, setAttempt] = useState(0);
  const [most, setMost] = useState(PAGE_ROWS);
  const key = `${from} ${to ?? ""}`;
  useEffect(() => {
    const controller = new AbortController();
    setFailure(null);
    snapshotsApi.listChanges(workspace, from, to, controller.signal).then(
      (changes) => {
        if (!controller.signal.aborted) setRead({ key: `${from} ${to ?? ""}`, changes });
      },
      (error: unknown) => {
        if (!controller.signal.aborted) setFailure(error);
      },
    );
    return () => controller.abort();
  }, [workspace, from, to, attempt]);
  if (failure !== null) return <Failure error={failure} onRetry={() => setAttempt(attempt + 1)} />;
  if (!read) return <TreeSkeleton />;
  const { changes, truncated } = read.changes;
  return (
    <div className="changes" aria-busy={read.key !== key}>
      <p className="changes-count soft small" role="status">
        {changes.length === 0
          ? "No changes. An earlier snapshot may differ."
          : countWords(changes.length, truncated)}
      </p>
      <ul aria-label="Changes">
        {changes.slice(0, most).map((change) => (
          <li key={change.path}>
            <ChangeRow change={change} active={change.path === active} onOpen={onOpen} />
          </li>
        ))}
      </ul>
      {changes.length > most && (
        <button className="button" onClick={() => setMost(most + PAGE_ROWS)}>
          Show more
        </button>
      )}
    </div>
  );
}

function countWords(count: number, truncated: boolean): string {
  if (truncated) return `Showing the first ${count} changes`;
  return count === 1 ? "1 change" : `${count} changes`;
}

function ChangeRow({
  change,
  active,
  onOpen,
}: {
  change: Change;
  active: boolean;
  onOpen: (path: string) => void;
}) {
  const { path, kind, entry } = change;
  return (
    <button
      className={active ? "change-row active" : "change-row"}
      aria-current={active || undefined}
      disabled={entry !== "file"}
      title={`${words[kind]}: ~/${displayName(path)}${sizesOf(change)}`}
      onClick={() => onOpen(path)}
    >
      <span className={`change-kind ${kind}`} aria-hidden="true">
        {letters[kind]}
      </span>
      <span className="hidden-text">{words[kind]}</span>
      <Icon name={entry === "directory" ? "folder" : entry === "symlink" ? "link" : "file"} size={15} />
      <span className="tree-name">{displayName(nameOf(path))}</span>
      <span className="change-where soft">{displayName(parentOf(path))}</span>
    </button>
  );
}

function sizesOf({ entry, size_before: before, size_after: after }: Change): string {
  if (entry !== "file") return "";
  const sizes = [before, after].filter((one) => typeof one === "number").map(formatBytes);
  return sizes.length > 0 ? ` · ${sizes.join(" → ")}` : "";
}
