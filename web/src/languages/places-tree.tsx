// A tree of files and of places in them, for problems and references.
import { useMemo, useState, type KeyboardEvent } from "react";
import { FileIcon } from "../files/file-icon";
import { displayName, nameOf, parentOf } from "../files/paths";
import { TreeRows } from "../files/tree-rows";
import { Icon } from "../ui/icons";
import { useGroupedTree } from "../ui/use-grouped-tree";
import { placeRows, type FilePlaces, type Place, type PlaceRow } from "./places-model";

interface Props {
  label: string;
  files: readonly FilePlaces[];
  onOpen: (path: string, place: Place, isPreview: boolean) => void;
}

export function PlacesTree({ label, files, onOpen }: Props) {
  const [collapsed, setCollapsed] = useState<ReadonlySet<string>>(new Set());
  const rows = useMemo(() => placeRows(files, collapsed), [files, collapsed]);
  const { tree, at, focused, setFocused, setCollapse, pressKey } = useGroupedTree(
    rows,
    (row) => row.place === null,
    collapsed,
    setCollapsed,
  );
  const activate = (row: PlaceRow, isPreview: boolean) => {
    setFocused(row.key);
    if (row.place) onOpen(row.path, row.place, isPreview);
    else setCollapse(row, row.isExpanded);
  };
  const onKey = (event: KeyboardEvent) => {
    const row = rows[at];
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" || event.key === " ") activate(row, event.key === " ");
    else if (!pressKey(event.key)) return;
    event.preventDefault();
  };
  return (
    <ul ref={tree} role="tree" aria-label={label} className="tree" onKeyDown={onKey}>
      <TreeRows
        scroller={tree}
        kept={[focused]}
        lines={rows.map((row, index) => ({
          key: row.key,
          render: () => (
            <PlaceItem
              key={row.key}
              row={row}
              isCurrent={index === at}
              onFocus={() => setFocused(row.key)}
              onActivate={(isPreview) => activate(row, isPreview)}
            />
          ),
        }))}
      />
    </ul>
  );
}

interface PlaceItemProps {
  row: PlaceRow;
  isCurrent: boolean;
  onFocus: () => void;
  onActivate: (isPreview: boolean) => void;
}

function PlaceItem({ row, isCurrent, onFocus, onActivate }: PlaceItemProps) {
  const { path, place } = row;
  return (
    <li
      role="treeitem"
      data-key={row.key}
      aria-level={place ? 2 : 1}
      aria-expanded={place ? undefined : row.isExpanded}
      aria-selected={isCurrent}
      tabIndex={isCurrent ? 0 : -1}
      className={place ? "tree-row result" : "tree-row result-file"}
      title={displayName(place ? place.text : path)}
      onFocus={onFocus}
      onClick={() => onActivate(true)}
      onDoubleClick={() => place && onActivate(false)}
    >
      {place ? (
        <>
          {place.severity && (
            <span className={`place-mark ${place.severity}`} role="img" aria-label={place.severity} />
          )}
          <span className="tree-name place-text">
            {displayName(place.text)}
            {place.note && <span className="soft small"> {displayName(place.note)}</span>}
          </span>
          <span className="soft small place-line">{place.range.start.line}</span>
        </>
      ) : (
        <>
          <span className={row.isExpanded ? "twist open" : "twist"}>
            <Icon name="chevron" size={12} />
          </span>
          <FileIcon name={nameOf(path)} />
          <span className="result-name">{displayName(nameOf(path))}</span>
          <span className="tree-name soft small">{displayName(parentOf(path))}</span>
          <span className="result-count">{row.count}</span>
        </>
      )}
    </li>
  );
}
