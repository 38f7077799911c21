// The tree of a home as it was: to look at, to open from, to bring back from.
import { useState } from "react";
import { snapshots } from "../api/endpoints";
import { Icon } from "../ui/icons";
import { MenuButton, type MenuEntry } from "../ui/menu";
import { copyText } from "../ui/toasts";
import { size, wholeInstant } from "../ui/format";
import { shown } from "../files/paths";
import { rowsOf, type Row } from "../files/tree-model";
import { DotfilesButton, TruncatedNote } from "../files/tree-tools";
import { TreeItem } from "../files/tree-item";
import { useRowMenu } from "../files/use-row-menu";
import { useTreeFocus } from "../files/use-tree-focus";
import { Failure } from "../ui/failure";
import type { Past } from "./use-snapshot-browser";
import { TreeSkeleton } from "../files/tree-skeleton";

interface Props {
  workspace: string;
  past: Past;
  active: string | null;
  /** Why nothing can be brought back now; empty if it can. */
  reason: string;
  onOpen: (path: string) => void;
  onRestore: (path: string) => void;
}

export function PastTree({ workspace, past, active, reason, onOpen, onRestore }: Props) {
  const [hidden, setHidden] = useState(false);
  const rows = rowsOf(past.directories, past.expanded, hidden);
  const focus = useTreeFocus(rows, past.toggle);
  const open = (row: Row) => {
    if (!row.entry.utf8) return;
    if (row.entry.kind === "directory") past.toggle(row.path);
    else if (row.entry.kind === "file") onOpen(row.path);
  };
  const archive = (path: string): MenuEntry => ({
    label: path ? "Download (.tar)" : "Download the whole home (.tar)",
    icon: "download",
    href: snapshots.archiveUrl(workspace, past.of ?? "latest", path),
    download: true,
  });
  const toggleHidden = { label: hidden ? "Hide dotfiles" : "Show dotfiles", run: () => setHidden(!hidden) };
  const menu = useRowMenu(focus, (row): MenuEntry[] => {
    if (!row) return [archive(""), toggleHidden];
    const { path, entry } = row;
    if (!entry.utf8) return [{ label: "Its name is not UTF-8", disabled: true }];
    const items: MenuEntry[] = [];
    if (entry.kind === "file")
      items.push(
        { label: "Open", icon: "file", run: () => open(row) },
        {
          label: "Download",
          icon: "download",
          href: snapshots.contentUrl(workspace, past.of ?? "latest", path),
          download: true,
        },
      );
    if (entry.kind === "directory") items.push(archive(path));
    if (entry.kind !== "other")
      items.push({
        label: entry.kind === "directory" ? "Restore this folder…" : "Restore…",
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
  if (past.of === null && past.failure !== null) return <Failure error={past.failure} onRetry={past.retry} />;
  if (past.of === null) return <TreeSkeleton />;
  return (
    <>
      {past.failure !== null && <Failure error={past.failure} onRetry={past.retry} />}
      <div className="past-tools">
        <DotfilesButton shown={hidden} onChange={setHidden} />
        <MenuButton label="More for the home as it was" items={[archive("")]}>
          <Icon name="more" />
        </MenuButton>
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
          } else if (!menu.onKey(event)) focus.onKey(event);
        }}
      >
        {rows.map((row) => (
          <TreeItem
            key={row.path}
            row={row}
            focus={focus}
            menu={menu}
            active={row.path === active}
            title={aboutRow(row)}
            onOpen={open}
          />
        ))}
      </ul>
      {menu.element}
      {rows.length === 0 && <p className="tree-note soft small">Nothing was here.</p>}
      <TruncatedNote directories={past.directories} />
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
