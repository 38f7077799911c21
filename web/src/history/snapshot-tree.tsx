// The file tree of a snapshot, with Open, Download and Restore.
import { useState } from "react";
import { snapshotsApi } from "../api/endpoints";
import { Icon } from "../ui/icons";
import { MenuButton, type MenuEntry } from "../ui/menu";
import { copyText } from "../ui/toasts";
import { formatBytes, formatFullInstant } from "../ui/format";
import { displayName } from "../files/paths";
import { visibleRows, type TreeRow } from "../files/tree-model";
import { DotfilesButton, TruncatedNote } from "../files/tree-tools";
import { TreeItem } from "../files/tree-item";
import { TreeRows } from "../files/tree-rows";
import { useRowMenu } from "../files/use-row-menu";
import { useTreeFocus } from "../files/use-tree-focus";
import { Failure } from "../ui/failure";
import type { SnapshotBrowser } from "./use-snapshot-browser";
import { TreeSkeleton } from "../files/tree-skeleton";

interface Props {
  workspace: string;
  browser: SnapshotBrowser;
  active: string | null;
  /** Why nothing can be restored now; empty if it can. */
  reason: string;
  onOpen: (path: string) => void;
  onRestore: (path: string) => void;
}

export function SnapshotTree({ workspace, browser, active, reason, onOpen, onRestore }: Props) {
  const [hidden, setHidden] = useState(false);
  const rows = visibleRows(browser.directories, browser.expanded, hidden);
  const focus = useTreeFocus(rows, browser.toggle);
  const open = (row: TreeRow) => {
    if (!row.entry.utf8) return;
    if (row.entry.kind === "directory") browser.toggle(row.path);
    else if (row.entry.kind === "file") onOpen(row.path);
  };
  const archive = (path: string): MenuEntry => ({
    label: path ? "Download (.tar)" : "Download home (.tar)",
    icon: "download",
    href: snapshotsApi.archiveUrl(workspace, browser.snapshot ?? "latest", path),
    download: true,
  });
  const toggleHidden = { label: hidden ? "Hide dotfiles" : "Show dotfiles", run: () => setHidden(!hidden) };
  const menu = useRowMenu(focus, (row): MenuEntry[] => {
    if (!row) return [archive(""), toggleHidden];
    const { path, entry } = row;
    if (!entry.utf8) return [{ label: "The name is not UTF-8", disabled: true }];
    const items: MenuEntry[] = [];
    if (entry.kind === "file")
      items.push(
        { label: "Open", icon: "file", run: () => open(row) },
        {
          label: "Download",
          icon: "download",
          href: snapshotsApi.contentUrl(workspace, browser.snapshot ?? "latest", path),
          download: true,
        },
      );
    if (entry.kind === "directory") items.push(archive(path));
    if (entry.kind !== "other")
      items.push({
        label: entry.kind === "directory" ? "Restore folder…" : "Restore…",
        icon: "restore",
        reason,
        run: () => onRestore(path),
      });
    items.push("line", {
      label: "Copy path",
      icon: "copy",
      run: () => void copyText(`~/${path}`, "Path"),
    });
    return items;
  });
  if (browser.snapshot === null && browser.failure !== null)
    return <Failure error={browser.failure} onRetry={browser.retry} />;
  if (browser.snapshot === null) return <TreeSkeleton />;
  return (
    <>
      {browser.failure !== null && <Failure error={browser.failure} onRetry={browser.retry} />}
      <div className="snapshot-tools">
        <DotfilesButton shown={hidden} onChange={setHidden} />
        <MenuButton label="Actions for this home" items={[archive("")]}>
          <Icon name="more" />
        </MenuButton>
      </div>
      <ul
        ref={focus.element}
        role="tree"
        aria-label="Files in this snapshot"
        aria-busy={browser.loading}
        className="tree"
        onKeyDown={(event) => {
          if ((event.key === "Enter" || event.key === " ") && focus.current) {
            event.preventDefault();
            open(focus.current);
          } else if (!menu.onKey(event)) focus.onKey(event);
        }}
      >
        <TreeRows
          scroller={focus.element}
          kept={[focus.focused]}
          lines={rows.map((row) => ({
            key: row.path,
            render: () => (
              <TreeItem
                key={row.path}
                row={row}
                focus={focus}
                menu={menu}
                active={row.path === active}
                title={aboutRow(row)}
                onOpen={open}
              />
            ),
          }))}
        />
      </ul>
      {menu.element}
      {rows.length === 0 && <p className="tree-note soft small">This snapshot is empty.</p>}
      <TruncatedNote directories={browser.directories} />
    </>
  );
}

function aboutRow({ entry }: TreeRow): string {
  const facts = [displayName(entry.name)];
  if (entry.kind === "symlink") facts.push(`→ ${displayName(entry.target ?? "")}`);
  if (entry.kind === "file") facts.push(formatBytes(entry.size));
  facts.push(formatFullInstant(entry.modified));
  if (!entry.utf8) facts.push("the name is not UTF-8, so it cannot be opened here");
  return facts.join(" · ");
}
