// The search view of the side bar: what is searched for, and the results as a tree of files and matches.
import { useEffect, useMemo, useRef, useState, type KeyboardEvent } from "react";
import type { TextMatch } from "../api/agent";
import { FileIcon } from "../files/file-icon";
import { displayName, nameOf, parentOf } from "../files/paths";
import { TreeRows } from "../files/tree-rows";
import { IconButton } from "../ui/icon-button";
import { Icon, type IconName } from "../ui/icons";
import { useGroupedTree } from "../ui/use-grouped-tree";
import { setPreference, usePreferences, type SwitchName } from "../ui/preferences";
import { noticeOf, resultRows, summaryOf, type ResultRow } from "./search-model";
import type { Search } from "./use-search";

interface Props {
  search: Search;
  writable: boolean;
  /** Changes when the user asks for the view: the field takes the focus. */
  focusRequest: number;
  onOpen: (path: string, match: TextMatch, isPreview: boolean) => void;
}

export function SearchView({ search, writable, focusRequest, onOpen }: Props) {
  const { query, change, results } = search;
  const [collapsed, setCollapsed] = useState<ReadonlySet<string>>(new Set());
  const [isFiltering, setFiltering] = useState(query.include !== "" || query.exclude !== "");
  const field = useRef<HTMLInputElement>(null);
  const rows = useMemo(() => resultRows(results, collapsed), [results, collapsed]);
  const canReplace = writable && query.isReplacing;
  const { tree, at, focused, setFocused, focusRow, setCollapse, pressKey } = useGroupedTree(
    rows,
    (row) => row.match === null,
    collapsed,
    setCollapsed,
  );

  useEffect(() => {
    if (focusRequest === 0) return;
    field.current?.focus();
    field.current?.select();
  }, [focusRequest]);

  const activate = (row: ResultRow, isPreview: boolean) => {
    setFocused(row.key);
    if (row.match) onOpen(row.path, row.match, isPreview);
    else setCollapse(row, row.isExpanded);
  };
  const matchesOf = (row: ResultRow) => {
    const file = results.files.find(({ path }) => path === row.path);
    return [{ path: row.path, matches: row.match ? [row.match] : (file?.matches ?? []) }];
  };
  const onKey = (event: KeyboardEvent) => {
    const row = rows[at];
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowUp" && at === 0) field.current?.focus();
    else if (!pressKey(event.key) && !pressOwnKey(row, event.key)) return;
    event.preventDefault();
  };
  /** Returns false if the key has no meaning for a result. */
  const pressOwnKey = (row: ResultRow, key: string) => {
    switch (key) {
      case "Enter":
        activate(row, false);
        break;
      case " ":
        activate(row, true);
        break;
      case "Delete":
        focusRow(rows[at + 1] ?? rows[at - 1]);
        search.dismiss(row.path, row.match);
        break;
      default:
        return false;
    }
    return true;
  };
  const areCollapsed = results.files.length > 0 && results.files.every(({ path }) => collapsed.has(path));

  return (
    <div className="search-view">
      <div className="pane-head">
        <h2>Search</h2>
        <IconButton icon="refresh" label="Search again" disabled={!query.pattern} onClick={search.refresh} />
        <IconButton
          icon="collapse"
          label={areCollapsed ? "Expand all" : "Collapse all"}
          disabled={results.files.length === 0}
          onClick={() =>
            setCollapsed(areCollapsed ? new Set() : new Set(results.files.map(({ path }) => path)))
          }
        />
        <IconButton
          icon="close"
          label="Clear results"
          disabled={!query.pattern}
          onClick={() => {
            change({ pattern: "", replacement: "" });
            field.current?.focus();
          }}
        />
      </div>
      <form
        className="search-form"
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          search.refresh();
        }}
      >
        {writable && (
          <button
            type="button"
            className="search-expand"
            aria-label="Toggle replace"
            aria-expanded={query.isReplacing}
            title="Toggle replace (Ctrl+Shift+H)"
            onClick={() => change({ isReplacing: !query.isReplacing })}
          >
            <span className={query.isReplacing ? "twist open" : "twist"}>
              <Icon name="chevron" size={14} />
            </span>
          </button>
        )}
        <div className="search-fields">
          <div className="search-box">
            <input
              ref={field}
              className="search-field"
              aria-label="Search"
              placeholder="Search"
              spellCheck={false}
              autoComplete="off"
              value={query.pattern}
              onChange={(event) => change({ pattern: event.target.value })}
              onKeyDown={(event) => {
                if (event.key === "ArrowDown" && rows.length > 0) {
                  event.preventDefault();
                  focusRow(rows[at]);
                }
              }}
            />
            <Switch name="searchCase" label="Match case" icon="matchCase" />
            <Switch name="searchWord" label="Match whole word" icon="wholeWord" />
            <Switch name="searchRegex" label="Use regular expression" icon="regex" />
          </div>
          {canReplace && (
            <div className="search-row">
              <div className="search-box">
                <input
                  aria-label="Replace"
                  placeholder="Replace"
                  spellCheck={false}
                  autoComplete="off"
                  value={query.replacement}
                  onChange={(event) => change({ replacement: event.target.value })}
                />
              </div>
              <IconButton
                icon="replaceAll"
                label="Replace all"
                disabled={results.matches === 0 || !search.isReplaceable}
                onClick={() => search.replace(results.files)}
              />
            </div>
          )}
          {isFiltering && (
            <>
              <label className="search-label">
                Files to include
                <input
                  className="search-box"
                  placeholder="*.ts, src/lib"
                  spellCheck={false}
                  value={query.include}
                  onChange={(event) => change({ include: event.target.value })}
                />
              </label>
              <label className="search-label">
                Files to exclude
                <input
                  className="search-box"
                  placeholder="*.min.js, dist"
                  spellCheck={false}
                  value={query.exclude}
                  onChange={(event) => change({ exclude: event.target.value })}
                />
              </label>
              <PreferenceBox name="searchIgnored" label="Search ignored files too" />
            </>
          )}
        </div>
      </form>
      <div className="search-status">
        {query.path && (
          <p className="search-scope">
            in <strong>{displayName(query.path)}</strong>
            <button className="link-button" onClick={() => change({ path: "" })}>
              Search everything
            </button>
          </p>
        )}
        <p role="status" className="soft small">
          {search.failure ? "" : query.pattern ? summaryOf(results) : ""}
        </p>
        <button
          className="icon-button"
          aria-label="Search options"
          aria-pressed={isFiltering}
          title="Files to include and exclude"
          onClick={() => setFiltering(!isFiltering)}
        >
          <Icon name="options" />
        </button>
      </div>
      {search.failure && (
        <p className="notice bad search-notice" role="alert">
          {search.failure}
        </p>
      )}
      {noticeOf(results) && <p className="notice search-notice">{noticeOf(results)}</p>}
      {search.replaced && (
        <div className="notice search-notice" role="status">
          <p>
            {search.replaced.summary}{" "}
            {search.replaced.undo.length > 0 && (
              <button className="link-button" disabled={search.isBusy} onClick={search.undo}>
                Undo
              </button>
            )}
          </p>
          {search.replaced.failures.map((failure) => (
            <p key={failure}>{failure}</p>
          ))}
        </div>
      )}
      <ul ref={tree} role="tree" aria-label="Search results" className="tree" onKeyDown={onKey}>
        <TreeRows
          scroller={tree}
          kept={[focused]}
          lines={rows.map((row, index) => ({
            key: row.key,
            render: () => (
              <ResultItem
                key={row.key}
                row={row}
                isCurrent={index === at}
                canReplace={canReplace}
                isReplaceable={search.isReplaceable}
                onFocus={() => setFocused(row.key)}
                onActivate={(isPreview) => activate(row, isPreview)}
                onDismiss={() => search.dismiss(row.path, row.match)}
                onReplace={() => search.replace(matchesOf(row))}
              />
            ),
          }))}
        />
      </ul>
    </div>
  );
}

interface ResultItemProps {
  row: ResultRow;
  isCurrent: boolean;
  canReplace: boolean;
  /** Whether its button has an effect now. */
  isReplaceable: boolean;
  onFocus: () => void;
  onActivate: (isPreview: boolean) => void;
  onDismiss: () => void;
  onReplace: () => void;
}

function ResultItem(props: ResultItemProps) {
  const { row, isCurrent, canReplace, isReplaceable, onFocus, onActivate, onDismiss, onReplace } = props;
  const act = (run: () => void) => (event: React.MouseEvent) => {
    event.stopPropagation();
    run();
  };
  return (
    <li
      role="treeitem"
      data-key={row.key}
      aria-level={row.match ? 2 : 1}
      aria-expanded={row.match ? undefined : row.isExpanded}
      aria-selected={isCurrent}
      tabIndex={isCurrent ? 0 : -1}
      className={row.match ? "tree-row result" : "tree-row result-file"}
      title={row.match ? `${displayName(row.path)}:${row.match.line}` : displayName(row.path)}
      onFocus={onFocus}
      onClick={() => onActivate(true)}
      onDoubleClick={() => row.match && onActivate(false)}
    >
      {row.match ? <MatchLabel match={row.match} showsReplacement={canReplace} /> : <FileLabel row={row} />}
      <span className="result-tools">
        {canReplace && (
          // Not disabled: then a click would open the match.
          <button
            tabIndex={-1}
            aria-hidden="true"
            aria-disabled={!isReplaceable}
            title="Replace"
            onClick={act(onReplace)}
          >
            <Icon name={row.match ? "replace" : "replaceAll"} size={14} />
          </button>
        )}
        <button tabIndex={-1} aria-hidden="true" title="Dismiss (Del)" onClick={act(onDismiss)}>
          <Icon name="close" size={14} />
        </button>
      </span>
      {!row.match && <span className="result-count">{row.count}</span>}
    </li>
  );
}

function FileLabel({ row }: { row: ResultRow }) {
  return (
    <>
      <span className={row.isExpanded ? "twist open" : "twist"}>
        <Icon name="chevron" size={12} />
      </span>
      <FileIcon name={nameOf(row.path)} />
      <span className="result-name">{displayName(nameOf(row.path))}</span>
      <span className="tree-name soft small">{displayName(parentOf(row.path))}</span>
    </>
  );
}

function MatchLabel({ match, showsReplacement }: { match: TextMatch; showsReplacement: boolean }) {
  const { before, text, after, replacement } = match;
  const isCut = match.column > before.length;
  const isReplaced = showsReplacement && replacement !== undefined && replacement !== null;
  return (
    <span className="tree-name result-text">
      {isCut ? "…" : ""}
      {displayName(isCut ? before : before.trimStart())}
      {isReplaced ? (
        <>
          <del>{displayName(text)}</del>
          <ins>{displayName(replacement)}</ins>
        </>
      ) : (
        <mark>{displayName(text)}</mark>
      )}
      {displayName(after)}
    </span>
  );
}

function Switch({ name, label, icon }: { name: SwitchName; label: string; icon: IconName }) {
  const isOn = usePreferences()[name];
  return (
    <button
      type="button"
      className="find-button"
      aria-label={label}
      aria-pressed={isOn}
      title={label}
      onClick={() => setPreference(name, !isOn)}
    >
      <Icon name={icon} />
    </button>
  );
}

function PreferenceBox({ name, label }: { name: SwitchName; label: string }) {
  const isOn = usePreferences()[name];
  return (
    <label className="search-check">
      <input type="checkbox" checked={isOn} onChange={(event) => setPreference(name, event.target.checked)} />
      {label}
    </label>
  );
}
