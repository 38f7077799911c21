// The Source Control view: the branch, a box for the next commit, and what has changed, in groups.
import { useEffect, useMemo, useRef, useState, type KeyboardEvent } from "react";
import { gitApi } from "../api/endpoints";
import { FileIcon } from "../files/file-icon";
import { childOf, displayName, nameOf, parentOf } from "../files/paths";
import { TreeRows } from "../files/tree-rows";
import { IconButton } from "../ui/icon-button";
import { Icon, type IconName } from "../ui/icons";
import { MenuButton, type MenuEntry } from "../ui/menu";
import { toastError } from "../ui/toasts";
import { useGroupedTree } from "../ui/use-grouped-tree";
import { CommitHistory } from "./commit-history";
import type { DiffTab } from "./diff-tab";
import {
  branchLabel,
  changeGroups,
  changeRows,
  syncAction,
  syncLabel,
  type ChangeGroup,
  type ChangeRow,
  type GroupEntry,
} from "./git-model";
import type { GitRepositories } from "./use-git";
import { discardable, type GitActions } from "./use-git-actions";

interface Props {
  git: GitRepositories;
  actions: GitActions;
  writable: boolean;
  /** Changes when the user asks for the view: the message takes the focus. */
  focusRequest: number;
  onOpenDiff: (diff: DiffTab, isPreview: boolean) => void;
  /** Opens a file of the repository: one with a conflict, or one without an older version. */
  onOpenFile: (path: string, isPreview: boolean) => void;
}

export function SourceControl(props: Props) {
  const { git, actions, writable, focusRequest } = props;
  const { repositories, repository, status, failure } = git;
  const view = useRef<HTMLDivElement>(null);
  const handledRequest = useRef(0);
  const isKnown = status !== null || repositories?.length === 0;
  useEffect(() => {
    if (focusRequest === handledRequest.current || !isKnown) return;
    handledRequest.current = focusRequest;
    const first = view.current?.querySelector<HTMLElement>(
      "textarea, [role=treeitem][tabindex='0'], .button",
    );
    first?.focus();
  }, [focusRequest, isKnown]);
  return (
    <div className="git-view" ref={view}>
      <div className="pane-head">
        <h2>Source Control</h2>
        <IconButton icon="refresh" label="Refresh" onClick={git.refresh} />
        {writable && repository !== null && (
          <MenuButton label="More actions" items={moreActions(git, actions)}>
            <Icon name="more" />
          </MenuButton>
        )}
      </div>
      {repositories?.length === 0 && <NoRepository actions={actions} writable={writable} />}
      {repositories !== null && repositories.length > 1 && (
        <div className="git-line">
          <select
            className="input git-select"
            aria-label="Repository"
            value={repository ?? ""}
            onChange={(event) => git.select(event.target.value)}
          >
            {repositories.map(({ path, kind }) => (
              <option key={path} value={path}>
                {path === "" ? "Home" : displayName(path)}
                {kind === "main" ? "" : ` (${kind})`}
              </option>
            ))}
          </select>
        </div>
      )}
      {failure && (
        <p className="notice bad search-notice" role="alert">
          {failure}
        </p>
      )}
      {status && <Repository {...props} />}
    </div>
  );
}

function NoRepository({ actions, writable }: { actions: GitActions; writable: boolean }) {
  return (
    <div className="git-empty">
      <p className="soft">There is no Git repository in this workspace yet.</p>
      {writable && (
        <>
          <button className="button primary" onClick={() => actions.open({ kind: "clone" })}>
            Clone repository…
          </button>
          <button
            className="button"
            onClick={() =>
              void actions.perform({ type: "init" }, "Initialize", "The home is a repository", "")
            }
          >
            Initialize repository in the home
          </button>
        </>
      )}
    </div>
  );
}

function Repository(props: Props) {
  const { git, actions, writable, onOpenDiff, onOpenFile } = props;
  const { status, repository, running } = git;
  const [collapsed, setCollapsed] = useState<ReadonlySet<string>>(new Set());
  const groups = useMemo(() => changeGroups(status), [status]);
  const rows = useMemo(() => changeRows(groups, collapsed), [groups, collapsed]);
  const { tree, at, setFocused, setCollapse, pressKey } = useGroupedTree(
    rows,
    (row) => row.entry === null,
    collapsed,
    setCollapsed,
  );
  if (!status || repository === null) return null;
  const activate = (row: ChangeRow, isPreview: boolean) => {
    setFocused(row.key);
    const { entry, group } = row;
    if (!entry) setCollapse(row, row.isExpanded);
    else if (entry.isRepository) git.select(childOf(repository, entry.path.replace(/\/$/, "")));
    else if (entry.path.startsWith("\0"))
      toastError(new Error("The name is not UTF-8. It can be staged and discarded, but not shown."));
    else if (group.name === "conflicts" || group.name === "untracked") onOpenFile(entry.path, isPreview);
    else onOpenDiff({ repository, path: entry.path, staged: group.name === "staged" }, isPreview);
  };
  const entriesOf = ({ group, entry }: ChangeRow) => (entry ? [entry] : group.entries);
  const toggleStaged = (row: ChangeRow) => {
    if (row.group.name === "staged") actions.unstage(entriesOf(row));
    else actions.stage(entriesOf(row));
  };
  const onKey = (event: KeyboardEvent) => {
    const row = rows[at];
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!pressKey(event.key) && !pressOwnKey(row, event.key)) return;
    event.preventDefault();
  };
  /** Returns false if the key has no meaning for a change. */
  const pressOwnKey = (row: ChangeRow, key: string) => {
    switch (key) {
      case "Enter":
        activate(row, false);
        break;
      case " ":
        if (writable) toggleStaged(row);
        break;
      case "Delete":
        if (writable && isDiscardable(row.group))
          actions.discard(row.entry ? [row.entry] : discardable(row.group));
        break;
      default:
        return false;
    }
    return true;
  };
  return (
    <>
      <BranchLine git={git} actions={actions} writable={writable} />
      {status.operation && (
        <div className="notice search-notice git-operation" role="status">
          <p>{operationText[status.operation]} in progress.</p>
          {writable && (
            <p>
              <button
                className="link-button"
                onClick={() =>
                  status.operation &&
                  void actions.perform({ type: "continue", ongoing: status.operation }, "Continue", "Done")
                }
              >
                Continue
              </button>{" "}
              <button
                className="link-button"
                onClick={() =>
                  status.operation &&
                  void actions.perform({ type: "abort", ongoing: status.operation }, "Abort", "Aborted")
                }
              >
                Abort
              </button>
            </p>
          )}
        </div>
      )}
      {writable && <CommitBox key={repository} git={git} actions={actions} groups={groups} />}
      {running && (
        <div className="git-progress" role="status">
          <progress {...(running.percent === null ? {} : { value: running.percent })} max={100} />
          <span className="soft small">
            {running.label}
            {running.text && `: ${running.text}`}
          </span>
          <button className="link-button small" onClick={running.cancel}>
            Cancel
          </button>
        </div>
      )}
      <ul ref={tree} role="tree" aria-label="Changes" className="tree git-changes" onKeyDown={onKey}>
        <TreeRows
          scroller={tree}
          kept={[rows[at]?.key ?? ""]}
          lines={rows.map((row, index) => ({
            key: row.key,
            render: () => (
              <ChangeItem
                key={row.key}
                row={row}
                isFocused={index === at}
                writable={writable}
                actions={actions}
                onActivate={activate}
                onFocus={() => setFocused(row.key)}
              />
            ),
          }))}
        />
      </ul>
      {rows.length === 0 && <p className="tree-note soft small">No changes.</p>}
      {status.truncated && (
        <p className="tree-note soft small">
          There are more changes than are shown. Name large untracked folders in a .gitignore.
        </p>
      )}
      <CommitHistory git={git} />
    </>
  );
}

const operationText = {
  merge: "Merge",
  rebase: "Rebase",
  cherry_pick: "Cherry-pick",
  revert: "Revert",
  bisect: "Bisect",
} as const;

const isDiscardable = (group: ChangeGroup) => group.name === "changes" || group.name === "untracked";

function BranchLine({ git, actions, writable }: Pick<Props, "git" | "actions" | "writable">) {
  const { status } = git;
  if (!status) return null;
  const action = syncAction(status);
  const arrows = syncLabel(status);
  const label = { publish: "Publish branch", sync: `Synchronize ${arrows}`, fetch: "Pull" };
  return (
    <div className="git-line">
      <button
        className="git-branch"
        title={status.upstream ? `Follows ${status.upstream}` : "Follows no branch of a remote"}
        disabled={!writable}
        onClick={() => actions.open({ kind: "branches" })}
      >
        <Icon name="branch" size={14} />
        <span className="tree-name">{displayName(branchLabel(status))}</span>
      </button>
      {writable && action && (
        <button className="git-sync" title={label[action]} aria-label={label[action]} onClick={actions.sync}>
          <Icon name={action === "publish" ? "upload" : "refresh"} size={14} />
          {arrows && <span>{arrows}</span>}
        </button>
      )}
    </div>
  );
}

function CommitBox({
  git,
  actions,
  groups,
}: {
  git: GitRepositories;
  actions: GitActions;
  groups: ChangeGroup[];
}) {
  const { workspace, repository, status, running } = git;
  const { draft, setDraft } = actions;
  const { isAmending } = draft;
  const message = draft.message ?? status?.proposed_message ?? "";
  const isStaged = groups.some(({ name }) => name === "staged");
  const canCommit = isAmending || ((groups.length > 0 || status?.operation) && message.trim() !== "");
  const commit = () => {
    if (canCommit && !running) void actions.commit(message, isAmending);
  };
  const setAmend = async (isAmending: boolean) => {
    setDraft({ isAmending });
    if (!isAmending || message.trim() || repository === null) return;
    try {
      const { commits } = await gitApi.log(workspace, repository, { limit: 1 });
      setDraft({ message: commits[0]?.message ?? "" });
    } catch (error) {
      toastError(error, "read the last message");
    }
  };
  const label = isAmending ? "Amend" : isStaged || groups.length === 0 ? "Commit" : "Commit all";
  return (
    <form
      className="git-commit"
      onSubmit={(event) => {
        event.preventDefault();
        commit();
      }}
    >
      <textarea
        className="input"
        aria-label="Commit message"
        placeholder="Message (Ctrl+Enter to commit)"
        rows={Math.min(8, Math.max(2, message.split("\n").length))}
        value={message}
        onChange={(event) => setDraft({ message: event.target.value })}
        onKeyDown={(event) => {
          if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
          event.preventDefault();
          commit();
        }}
      />
      <div className="git-commit-line">
        <button className="button primary" disabled={!canCommit || running !== null}>
          {label}
        </button>
        <label className="search-check">
          <input
            type="checkbox"
            checked={isAmending}
            disabled={!status?.head}
            onChange={(event) => void setAmend(event.target.checked)}
          />
          Amend
        </label>
      </div>
    </form>
  );
}

interface ChangeItemProps {
  row: ChangeRow;
  isFocused: boolean;
  writable: boolean;
  actions: GitActions;
  onActivate: (row: ChangeRow, isPreview: boolean) => void;
  onFocus: () => void;
}

function ChangeItem({ row, isFocused, writable, actions, onActivate, onFocus }: ChangeItemProps) {
  const { group, entry } = row;
  const common = {
    role: "treeitem",
    "data-key": row.key,
    tabIndex: isFocused ? 0 : -1,
    onFocus,
    onClick: () => onActivate(row, true),
    onDoubleClick: () => entry && onActivate(row, false),
  };
  if (!entry) {
    return (
      <li {...common} className="tree-row git-group" aria-level={1} aria-expanded={row.isExpanded}>
        <span className={row.isExpanded ? "twist open" : "twist"}>
          <Icon name="chevron" size={12} />
        </span>
        <span className="tree-name">{group.title}</span>
        {writable && <GroupTools group={group} actions={actions} />}
        <span className="result-count">{group.entries.length.toLocaleString("en")}</span>
      </li>
    );
  }
  const name = nameOf(entry.path.replace(/\/$/, "")) || entry.path;
  const shown = [name, parentOf(entry.path.replace(/\/$/, ""))].filter(Boolean).map(displayName).join(" ");
  const about = entry.originalPath ? `${entry.about} from ${entry.originalPath}` : entry.about;
  return (
    <li
      {...common}
      className="tree-row git-entry"
      aria-level={2}
      aria-label={`${shown}, ${displayName(about)}`}
      title={`${displayName(entry.path)} · ${displayName(about)}`}
    >
      {entry.isRepository ? <Icon name="folder" size={15} /> : <FileIcon name={name} />}
      <span className={entry.letter === "D" ? "tree-name result-name deleted" : "tree-name result-name"}>
        {displayName(name)}
      </span>
      <span className="soft tree-name small">{displayName(parentOf(entry.path.replace(/\/$/, "")))}</span>
      {writable && <EntryTools group={group} entry={entry} actions={actions} />}
      <span className={`git-letter git-${entry.letter}`} data-letter={entry.letter} />
    </li>
  );
}

function GroupTools({ group, actions }: { group: ChangeGroup; actions: GitActions }) {
  return (
    <span className="result-tools">
      {isDiscardable(group) && (
        <ToolButton icon="undo" label="Discard all" run={() => actions.discard(discardable(group))} />
      )}
      {group.name === "staged" ? (
        <ToolButton icon="minus" label="Unstage all" run={actions.unstageAll} />
      ) : (
        <ToolButton icon="plus" label="Stage all" run={() => actions.stage(group.entries)} />
      )}
    </span>
  );
}

function EntryTools(props: { group: ChangeGroup; entry: GroupEntry; actions: GitActions }) {
  const { group, entry, actions } = props;
  const name = displayName(entry.path);
  if (group.name === "conflicts") {
    return (
      <span className="result-tools">
        <ToolButton
          icon="earlier"
          label={`Take ours of ${name}`}
          run={() => actions.resolve(entry.path, "ours")}
        />
        <ToolButton
          icon="later"
          label={`Take theirs of ${name}`}
          run={() => actions.resolve(entry.path, "theirs")}
        />
        <ToolButton icon="plus" label={`Stage ${name} as resolved`} run={() => actions.stage([entry])} />
      </span>
    );
  }
  if (group.name === "staged") {
    return (
      <span className="result-tools">
        <ToolButton icon="minus" label={`Unstage ${name}`} run={() => actions.unstage([entry])} />
      </span>
    );
  }
  return (
    <span className="result-tools">
      {!entry.isRepository && (
        <ToolButton icon="undo" label={`Discard ${name}`} run={() => actions.discard([entry])} />
      )}
      <ToolButton icon="plus" label={`Stage ${name}`} run={() => actions.stage([entry])} />
    </span>
  );
}

/** Reached with a pointer. The keyboard has Space and Delete. */
function ToolButton({ icon, label, run }: { icon: IconName; label: string; run: () => void }) {
  return (
    <button
      type="button"
      tabIndex={-1}
      aria-label={label}
      title={label}
      onClick={(event) => {
        event.stopPropagation();
        run();
      }}
      onDoubleClick={(event) => event.stopPropagation()}
    >
      <Icon name={icon} size={14} />
    </button>
  );
}

function moreActions(git: GitRepositories, actions: GitActions): MenuEntry[] {
  return [
    { label: "Pull", run: () => actions.pull() },
    { label: "Push", run: () => actions.push() },
    { label: "Fetch", run: actions.fetch },
    "line",
    { label: "Stage all", run: actions.stageAll },
    { label: "Unstage all", run: actions.unstageAll },
    { label: "Undo last commit", run: actions.undoCommit },
    "line",
    { label: "Switch branch…", icon: "branch", run: () => actions.open({ kind: "branches" }) },
    { label: "Create branch…", run: () => actions.open({ kind: "new-branch" }) },
    { label: "Merge branch…", run: () => actions.open({ kind: "merge" }) },
    "line",
    {
      label: "Stash changes",
      disabled: !git.status || git.status.entries.length === 0,
      run: () => void actions.perform({ type: "stash_push", message: "" }, "Stash", "Changes stashed"),
    },
    {
      label: "Apply stash…",
      disabled: !git.status || git.status.stashes === 0,
      run: () => actions.open({ kind: "stashes" }),
    },
    { label: "Create tag…", run: () => actions.open({ kind: "new-tag" }) },
    { label: "Add remote…", run: () => actions.open({ kind: "add-remote" }) },
    "line",
    { label: "Clone repository…", run: () => actions.open({ kind: "clone" }) },
  ];
}
