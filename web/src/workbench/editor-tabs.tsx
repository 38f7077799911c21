// The tabs of one group of open files: they can be dragged within the group and to others.
import {
  useState,
  useSyncExternalStore,
  type DragEvent,
  type KeyboardEvent as ReactKeyboardEvent,
  type MouseEvent,
  type ReactNode,
} from "react";
import type { SharedDocument } from "../streams/shared-document";
import { FileIcon } from "../files/file-icon";
import { nameOf, parentOf, displayName } from "../files/paths";
import type { OpenDocuments } from "../editor/use-documents";
import { activateTab, closeTabs, keepTab, moveTab, type TabGroup } from "../editor/tab-model";
import { Icon } from "../ui/icons";
import { fileOfTab, parseDiffTab } from "../git/diff-tab";
import { ContextMenu, MenuButton, type MenuEntry } from "../ui/menu";
import { focusSelectedTab } from "../ui/focus";
import { useScrollIntoView } from "../ui/use-scroll-into-view";

/** Media type of a tab that is dragged: the index of its group and its path. */
const TAB_TYPE = "application/x-burrow-tab";

export interface TabActions {
  splitRight: () => void;
  reveal: (path: string, isFolder: boolean) => void;
  copyPath: (path: string) => void;
}

interface EditorTabsProps {
  documents: OpenDocuments;
  index: number;
  group: TabGroup;
  actions: TabActions;
  /** Buttons at the beginning of the strip, and at its end. */
  before?: ReactNode;
  after?: ReactNode;
}

export function EditorTabs({ documents, index, group, actions, before, after }: EditorTabsProps) {
  const { change, tabs } = documents;
  const { paths, active, preview } = group;
  const chosen = useScrollIntoView<HTMLDivElement>(active);
  const [menu, setMenu] = useState<{ x: number; y: number; path: string } | null>(null);
  const [over, setOver] = useState<string | null>(null);
  const names = paths.map(nameOf);
  const label = tabs.groups.length > 1 ? `Open files, group ${index + 1}` : "Open files";

  const activate = (path: string) => change((tabs) => activateTab(tabs, index, path));
  const close = (which: (path: string) => boolean) =>
    change((tabs) => closeTabs(tabs, (path, group) => group === index && which(path)));
  const onKey = (event: ReactKeyboardEvent) => {
    if (event.key === "Delete" && active) close((path) => path === active);
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const at = active ? paths.indexOf(active) : -1;
    const next = by === undefined ? undefined : paths[(at + by + paths.length) % paths.length];
    if (!next) return;
    event.preventDefault();
    activate(next);
    focusSelectedTab(event.currentTarget);
  };
  const onDragOver = (event: DragEvent, path: string | null) => {
    if (!event.dataTransfer.types.includes(TAB_TYPE)) return;
    event.preventDefault();
    event.stopPropagation();
    setOver(path ?? "");
  };
  const onDrop = (event: DragEvent, path: string | null) => {
    setOver(null);
    const dragged = event.dataTransfer.getData(TAB_TYPE);
    const end = dragged.indexOf(":");
    if (end < 0) return;
    event.preventDefault();
    event.stopPropagation();
    const from = Number(dragged.slice(0, end));
    change((tabs) => moveTab(tabs, dragged.slice(end + 1), from, index, path));
  };
  const menuOf = (path: string): MenuEntry[] => [
    { label: "Close", keys: "Alt+W", run: () => close((one) => one === path) },
    {
      label: "Close others",
      disabled: paths.length < 2,
      run: () => close((one) => one !== path),
    },
    { label: "Close all", run: () => close(() => true) },
    "line",
    {
      label: "Keep open",
      disabled: preview !== path,
      run: () => change((tabs) => keepTab(tabs, path)),
    },
    {
      label: "Split right",
      icon: "split",
      run: () => {
        activate(path);
        actions.splitRight();
      },
    },
    ...(tabs.groups.length > 1
      ? [
          {
            label: "Move to the other group",
            run: () => change((tabs) => moveTab(tabs, path, index, index === 0 ? 1 : index - 1, null)),
          },
        ]
      : []),
    "line",
    { label: "Copy path", icon: "copy", run: () => actions.copyPath(fileOfTab(path)) },
    { label: "Show in Explorer", run: () => actions.reveal(fileOfTab(path), false) },
  ];
  const openMenu = (event: MouseEvent, path: string) => {
    event.preventDefault();
    setMenu({ x: event.clientX, y: event.clientY, path });
  };

  return (
    <div className="tab-strip">
      {before}
      <div
        className={over === "" ? "tabs over" : "tabs"}
        role={paths.length > 0 ? "tablist" : undefined}
        aria-label={paths.length > 0 ? label : undefined}
        onKeyDown={onKey}
        onWheel={(event) => {
          // A wheel has one direction, and so has the strip.
          if (event.deltaX === 0) event.currentTarget.scrollLeft += event.deltaY;
        }}
        onDragOver={(event) => onDragOver(event, null)}
        onDragLeave={() => setOver(null)}
        onDrop={(event) => onDrop(event, null)}
      >
        {paths.map((path) => {
          const name = nameOf(path);
          const twice = names.filter((other) => other === name).length > 1;
          const shared = documents.shared(path);
          return (
            <div
              key={path}
              ref={path === active ? chosen : undefined}
              className={[
                "tab",
                path === active && "chosen",
                path === preview && "preview",
                path === over && "over",
              ]
                .filter(Boolean)
                .join(" ")}
              draggable
              onDragStart={(event) => event.dataTransfer.setData(TAB_TYPE, `${index}:${path}`)}
              onDragOver={(event) => onDragOver(event, path)}
              onDrop={(event) => onDrop(event, path)}
              onContextMenu={(event) => openMenu(event, path)}
            >
              <button
                role="tab"
                aria-selected={path === active}
                tabIndex={path === active ? 0 : -1}
                aria-keyshortcuts="Delete"
                title={titleOf(path, path === preview)}
                onClick={() => activate(path)}
                onDoubleClick={() => change((tabs) => keepTab(tabs, path))}
                onAuxClick={(event) => event.button === 1 && close((one) => one === path)}
              >
                <FileIcon name={name} size={14} />
                <span className="tab-name">{labelOf(path)}</span>
                {twice && (
                  <span className="soft tab-name"> {displayName(parentOf(fileOfTab(path))) || "~"}</span>
                )}
              </button>
              <button
                className="tab-close"
                // A list of tabs has only tabs for assistive technology: Delete closes them.
                aria-hidden="true"
                tabIndex={-1}
                title="Close (Alt+W)"
                onClick={() => close((one) => one === path)}
              >
                {shared ? <CloseOrDot shared={shared} /> : <Icon name="close" size={13} />}
              </button>
            </div>
          );
        })}
      </div>
      {paths.length > 0 && (
        <>
          <button
            className="icon-button wide-only"
            aria-label="Split right"
            title="Split right (Ctrl+\)"
            onClick={() => {
              if (active) activate(active);
              actions.splitRight();
            }}
          >
            <Icon name="split" />
          </button>
          <MenuButton
            label="Open editors"
            items={[
              ...paths.map((path) => ({
                label: labelOf(path, fileOfTab(path)),
                icon: path === active ? ("check" as const) : ("file" as const),
                run: () => activate(path),
              })),
              "line" as const,
              { label: "Close all", run: () => close(() => true) },
            ]}
          >
            <Icon name="more" />
          </MenuButton>
        </>
      )}
      {after}
      {menu && (
        <ContextMenu
          label="Actions for this tab"
          x={menu.x}
          y={menu.y}
          items={menuOf(menu.path)}
          onClose={() => setMenu(null)}
        />
      )}
    </div>
  );
}

/** The name of a tab. That of changes says which ones. */
function labelOf(path: string, name = nameOf(path)): string {
  const diff = parseDiffTab(path);
  return diff ? `${displayName(name)} (${diff.staged ? "staged" : "changes"})` : displayName(name);
}

function titleOf(path: string, isPreview: boolean): string {
  return `~/${displayName(fileOfTab(path))}${isPreview ? " (preview: double-click to keep it open)" : ""}`;
}

/** A dot while edits are not on disk yet. */
function CloseOrDot({ shared }: { shared: SharedDocument }) {
  const saved = useSyncExternalStore(shared.subscribe, () => shared.state.saved);
  return saved ? <Icon name="close" size={13} /> : <span className="unsaved" />;
}
