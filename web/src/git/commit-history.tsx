// The newest commits of all branches, with a graph of how they are connected.
import { useEffect, useState } from "react";
import type { History } from "../api/agent";
import { errorMessage } from "../api/client";
import { gitApi } from "../api/endpoints";
import { displayName } from "../files/paths";
import { Icon } from "../ui/icons";
import { RelativeTime } from "../ui/time";
import { copyText } from "../ui/toasts";
import { layoutGraph, type GraphRow } from "./commit-graph";
import type { GitRepositories } from "./use-git";

const PAGE = 50;
const LANE = 10;
const ROW = 26;
/** Further lanes would leave no room for text. */
const MAX_LANES = 8;

export function CommitHistory({ git }: { git: GitRepositories }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <section className="git-history" aria-label="Commits">
      <button className="git-history-head" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        <span className={isOpen ? "twist open" : "twist"}>
          <Icon name="chevron" size={12} />
        </span>
        Commits
      </button>
      {isOpen && <Commits git={git} />}
    </section>
  );
}

function Commits({ git }: { git: GitRepositories }) {
  const { workspace, repository, status, version } = git;
  const [history, setHistory] = useState<History | null>(null);
  const [failure, setFailure] = useState("");
  const [limit, setLimit] = useState(PAGE);
  const head = `${status?.head} ${status?.ahead} ${status?.behind}`;
  useEffect(() => {
    if (repository === null) return;
    let isOver = false;
    gitApi.log(workspace, repository, { limit, all: true }).then(
      (history) => {
        if (isOver) return;
        setHistory(history);
        setFailure("");
      },
      (error: unknown) => !isOver && setFailure(errorMessage(error)),
    );
    return () => {
      isOver = true;
    };
    // A status without another commit changes nothing here, except that branches may have moved.
  }, [workspace, repository, limit, head, status?.branch, version]);
  if (failure) return <p className="tree-note soft small">{failure}</p>;
  if (!history) return <p className="tree-note soft small">Loading…</p>;
  const rows = layoutGraph(history.commits);
  return (
    <ol className="git-commits">
      {history.commits.map((commit, index) => (
        <li key={commit.id}>
          <button
            title={[
              commit.message,
              "",
              `${commit.author} <${commit.email}>`,
              commit.id,
              "Click to copy the hash",
            ].join("\n")}
            onClick={() => void copyText(commit.id, "Hash")}
          >
            {rows[index] && <Graph row={rows[index]} />}
            <span className="tree-name">
              {commit.references
                .filter((name) => !name.endsWith("/HEAD"))
                .map((name) => (
                  <span key={name} className="git-reference">
                    {displayName(name.replace("HEAD -> ", "").replace("tag: ", ""))}
                  </span>
                ))}
              {displayName(commit.message.split("\n", 1)[0] ?? "")}
            </span>
            <span className="soft small git-when">
              <RelativeTime at={new Date(commit.time * 1000).toISOString()} />
            </span>
          </button>
        </li>
      ))}
      {history.truncated && limit < 500 && (
        <li>
          <button className="link-button" onClick={() => setLimit(Math.min(limit * 2, 500))}>
            Show more
          </button>
        </li>
      )}
    </ol>
  );
}

/** The lines continue in the next row. */
function Graph({ row }: { row: GraphRow }) {
  const width = Math.min(row.width, MAX_LANES) * LANE + 4;
  const x = (lane: number) => Math.min(lane, MAX_LANES) * LANE + LANE / 2 + 2;
  return (
    <svg className="git-graph" width={width} height={ROW} aria-hidden="true">
      {row.lines.map(([from, to]) => (
        <path
          key={`${from} ${to}`}
          d={`M${x(from)} ${ROW / 2} C${x(from)} ${ROW} ${x(to)} ${ROW} ${x(to)} ${ROW * 1.5}`}
        />
      ))}
      <circle cx={x(row.lane)} cy={ROW / 2} r={3.5} />
    </svg>
  );
}
