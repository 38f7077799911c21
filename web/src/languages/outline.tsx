// The outline: the symbols of the file in front as a tree, which follows the cursor. A part of the Explorer
// that can be collapsed.
import { useEffect, useMemo, useState, type KeyboardEvent } from "react";
import type { DocumentSymbol, TextPosition } from "../api/agent";
import { displayName } from "../files/paths";
import { TreeRows } from "../files/tree-rows";
import { Icon } from "../ui/icons";
import { useGroupedTree } from "../ui/use-grouped-tree";
import { outlineRows, rowAt, type OutlineRow } from "./outline-model";

interface Props {
  isOpen: boolean;
  onToggle: (isOpen: boolean) => void;
  /** Null: no server knows them, or not yet. */
  symbols: readonly DocumentSymbol[] | null;
  /** Where the cursor is. */
  cursor: TextPosition | null;
  /** Shows a symbol, and with `isFocused` moves the keyboard there. */
  onOpen: (symbol: DocumentSymbol, isFocused: boolean) => void;
}

export function Outline({ isOpen, onToggle, symbols, cursor, onOpen }: Props) {
  return (
    <section className={isOpen ? "outline open" : "outline"} aria-label="Outline">
      <h2>
        <button aria-expanded={isOpen} onClick={() => onToggle(!isOpen)}>
          <span className={isOpen ? "twist open" : "twist"}>
            <Icon name="chevron" size={12} />
          </span>
          Outline
        </button>
      </h2>
      {isOpen &&
        (symbols && symbols.length > 0 ? (
          <OutlineTree symbols={symbols} cursor={cursor} onOpen={onOpen} />
        ) : (
          <p className="tree-note soft small">
            {symbols ? "No symbols in this file." : "Open a file whose language server knows its symbols."}
          </p>
        ))}
    </section>
  );
}

type TreeProps = Pick<Props, "cursor" | "onOpen"> & { symbols: readonly DocumentSymbol[] };

function OutlineTree({ symbols, cursor, onOpen }: TreeProps) {
  const [collapsed, setCollapsed] = useState<ReadonlySet<string>>(new Set());
  const rows = useMemo(() => outlineRows(symbols, collapsed), [symbols, collapsed]);
  const { tree, at, focused, setFocused, setCollapse, pressKey } = useGroupedTree(
    rows,
    (row) => row.hasChildren,
    collapsed,
    setCollapsed,
  );
  const current = cursor ? (rowAt(rows, cursor)?.key ?? "") : "";
  useEffect(() => {
    const element = tree.current;
    if (current === "" || !element || element.contains(document.activeElement)) return;
    element.querySelector(`[data-key="${CSS.escape(current)}"]`)?.scrollIntoView({ block: "nearest" });
  }, [tree, current]);
  const onKey = (event: KeyboardEvent) => {
    const row = rows[at];
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" || event.key === " ") onOpen(row.symbol, event.key === "Enter");
    else if (!pressKey(event.key)) return;
    event.preventDefault();
  };
  const renderRow = (row: OutlineRow, index: number) => (
    <li
      key={row.key}
      role="treeitem"
      data-key={row.key}
      aria-level={row.level + 1}
      aria-expanded={row.hasChildren ? row.isExpanded : undefined}
      aria-selected={index === at}
      aria-current={row.key === current ? "location" : undefined}
      tabIndex={index === at ? 0 : -1}
      className="tree-row"
      style={{ "--depth": row.level } as React.CSSProperties}
      onFocus={() => setFocused(row.key)}
      onClick={() => onOpen(row.symbol, false)}
      onDoubleClick={() => onOpen(row.symbol, true)}
    >
      <span
        className={row.isExpanded ? "twist open" : "twist"}
        onClick={(event) => {
          event.stopPropagation();
          if (row.hasChildren) setCollapse(row, row.isExpanded);
        }}
      >
        {row.hasChildren && <Icon name="chevron" size={12} />}
      </span>
      <span className="tree-name">{displayName(row.symbol.name)}</span>
      <span className="soft small outline-kind">{row.symbol.kind.replace("_", " ")}</span>
    </li>
  );
  return (
    <ul ref={tree} role="tree" aria-label="Outline" className="tree" onKeyDown={onKey}>
      <TreeRows
        scroller={tree}
        kept={[focused, current]}
        lines={rows.map((row, index) => ({ key: row.key, render: () => renderRow(row, index) }))}
      />
    </ul>
  );
}
