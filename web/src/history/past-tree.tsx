// The tree of a home as it was: to look at and to open from, nothing else.
import { useState } from "react";
import { Icon } from "../ui/icons";
import { size, wholeInstant } from "../ui/words";
import { shown } from "../workspace/paths";
import { rowsOf, type Row } from "../workspace/tree-model";
import { TreeLabel, useTreeFocus } from "../workspace/tree-focus";
import { Failure } from "../ui/failure";
import type { Past } from "./use-past";

interface Props {
  past: Past;
  active: string | null;
  onOpen: (path: string) => void;
}

export function PastTree({ past, active, onOpen }: Props) {
  const [hidden, setHidden] = useState(false);
  const rows = rowsOf(past.directories, past.expanded, hidden);
  const focus = useTreeFocus(rows, past.toggle);
  const open = (row: Row) => {
    if (!row.entry.utf8) return;
    if (row.entry.kind === "directory") past.toggle(row.path);
    else if (row.entry.kind === "file") onOpen(row.path);
  };
  if (past.of === null && past.failure !== null) return <Failure error={past.failure} onRetry={past.retry} />;
  if (past.of === null) return <TreeSkeleton />;
  return (
    <>
      {past.failure !== null && <Failure error={past.failure} onRetry={past.retry} />}
      <div className="past-tools">
        <button
          className="icon-button"
          aria-label="Show dotfiles"
          aria-pressed={hidden}
          title={hidden ? "Hide dotfiles" : "Show dotfiles"}
          onClick={() => setHidden(!hidden)}
        >
          <Icon name="eye" />
        </button>
      </div>
      <ul
        ref={focus.element}
        role="tree"
        aria-label="Files of the home as it was"
        aria-busy={past.loading}
        className="tree"
        onKeyDown={(event) => {
          if ((event.key === "Enter" || event.key === " ") && focus.current) {
            event.preventDefault();
            open(focus.current);
          } else focus.onKey(event);
        }}
      >
        {rows.map((row, index) => (
          <li
            key={row.path}
            role="treeitem"
            data-path={row.path}
            className={row.path === active ? "tree-row active" : "tree-row"}
            aria-level={row.depth + 1}
            aria-posinset={row.position}
            aria-setsize={row.siblings}
            aria-expanded={row.entry.kind === "directory" ? row.expanded : undefined}
            aria-selected={row.path === active}
            aria-disabled={!row.entry.utf8 || undefined}
            tabIndex={index === focus.at ? 0 : -1}
            title={aboutRow(row)}
            style={{ paddingInlineStart: `${8 + row.depth * 14}px` }}
            onClick={() => {
              focus.setFocused(row.path);
              open(row);
            }}
            onFocus={() => focus.setFocused(row.path)}
          >
            <TreeLabel row={row} />
          </li>
        ))}
      </ul>
      {rows.length === 0 && <p className="tree-note soft small">Nothing was here.</p>}
      {[...past.directories].some(([, directory]) => directory.truncated) && (
        <p className="tree-note soft small">A folder has more entries than are shown.</p>
      )}
    </>
  );
}

function aboutRow({ entry }: Row): string {
  const facts = [shown(entry.name)];
  if (entry.kind === "symlink") facts.push(`→ ${shown(entry.target ?? "")}`);
  if (entry.kind === "file") facts.push(size(entry.size));
  facts.push(wholeInstant(entry.modified));
  if (!entry.utf8) facts.push("its name is not UTF-8: it cannot be opened here");
  return facts.join(" · ");
}

export function TreeSkeleton() {
  return (
    <div className="tree-skeleton" aria-hidden="true">
      {[52, 38, 64, 45, 70, 40, 56].map((width, index) => (
        <div key={index} className="tree-row">
          <span className="skeleton" style={{ width: `${width}%` }} />
        </div>
      ))}
    </div>
  );
}
