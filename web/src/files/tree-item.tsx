// A row of a file tree, for the explorer and for the tree of a snapshot.
import { type CSSProperties, type LiHTMLAttributes, type MouseEvent } from "react";
import type { Decoration } from "../git/git-model";
import { Icon } from "../ui/icons";
import { FileIcon } from "./file-icon";
import { displayName } from "./paths";
import { type TreeRow } from "./tree-model";
import type { RowMenu } from "./use-row-menu";
import type { TreeFocus } from "./use-tree-focus";

interface TreeItemProps extends Omit<LiHTMLAttributes<HTMLLIElement>, "onSelect"> {
  row: TreeRow;
  focus: TreeFocus;
  menu: RowMenu;
  active: boolean;
  /** Whether it is one of several selected rows. Without: the active row is the selected one. */
  selected?: boolean;
  /** Selects instead of opening. Returns whether the click meant that. */
  onSelect?: (event: MouseEvent, row: TreeRow) => boolean;
  onOpen: (row: TreeRow) => void;
  /** How Git marks it. */
  decoration?: Decoration | undefined;
}

export function TreeItem(props: TreeItemProps) {
  const { row, focus, menu, active, selected, onSelect, onOpen, decoration, className, ...rest } = props;
  const isDirectory = row.entry.kind === "directory";
  return (
    <li
      role="treeitem"
      data-path={row.path}
      className={[
        "tree-row",
        active && "active",
        selected && "selected",
        decoration && `git-${decoration.letter}`,
        className,
      ]
        .filter(Boolean)
        .join(" ")}
      aria-level={row.depth + 1}
      aria-posinset={row.position}
      aria-setsize={row.siblings}
      aria-expanded={isDirectory ? row.expanded : undefined}
      aria-selected={selected ?? active}
      aria-disabled={!row.entry.utf8 || undefined}
      tabIndex={row === focus.current ? 0 : -1}
      style={indentOf(row.depth)}
      onClick={(event) => {
        focus.setFocused(row.path);
        if (!onSelect?.(event, row)) onOpen(row);
      }}
      onFocus={() => focus.setFocused(row.path)}
      onContextMenu={(event) => menu.open(event, row)}
      {...rest}
    >
      <TreeLabel row={row} />
      {decoration && (
        <span className="git-letter" title={decoration.about}>
          {decoration.isFolder ? "•" : decoration.letter}
          <span className="hidden-text">{decoration.about}</span>
        </span>
      )}
      <button
        // Keyboard users open the menu with the menu key.
        tabIndex={-1}
        aria-hidden="true"
        className="tree-more"
        title="More"
        onClick={(event) => menu.open(event, row)}
      >
        <Icon name="more" size={14} />
      </button>
    </li>
  );
}

/** A row's indentation, with a line for each folder around it. */
export function indentOf(depth: number): CSSProperties {
  return { "--depth": depth } as CSSProperties;
}

function TreeLabel({ row }: { row: TreeRow }) {
  const { entry } = row;
  return (
    <>
      <span className={row.expanded ? "twist open" : "twist"}>
        {entry.kind === "directory" && <Icon name="chevron" size={12} />}
      </span>
      {entry.kind === "directory" ? (
        <Icon name="folder" size={15} />
      ) : entry.kind === "symlink" ? (
        <Icon name="link" size={15} />
      ) : (
        <FileIcon name={entry.name} />
      )}
      <span className={entry.name.startsWith(".") ? "tree-name soft" : "tree-name"}>
        {displayName(entry.name)}
      </span>
    </>
  );
}
