// The history of a home: the timeline, the files and changes at the selected snapshot, one file of
// it, and the actions on the snapshot. Holds the state of the page; the parts are in modules of
// their own.
import {
  historyCommands,
  reasonsOf,
  snapshotMenu,
  type HistoryActions,
  type HistoryDialog,
} from "./history-commands";
import { HistoryDialogs } from "./history-dialogs";
import { TimelinePanel } from "./timeline-panel";
import { UndoBanner } from "./undo-banner";
import { useHomeRestore } from "./use-home-restore";
import { focusNextRegion } from "./history-focus";
import { useEffect, useMemo, useRef, useState, type CSSProperties } from "react";
import type { Workspace } from "../api/types";
import { Icon } from "../ui/icons";
import { useKeyBindings } from "../ui/use-keys";
import { SegmentedControl } from "../ui/segmented-control";
import { useNow } from "../ui/time";
import { formatInstant, formatFullInstant } from "../ui/format";
import { readLayout } from "../workbench/layout";
import { Splitter } from "../ui/splitter";
import { CommandPalette } from "../ui/command-palette";
import { nameOf, parentOf, displayName } from "../files/paths";
import { ChangesList } from "./changes-list";
import { SnapshotFile, type ViewMode } from "./snapshot-file";
import { SnapshotTree } from "./snapshot-tree";
import { RestoreFilesDialog, type CompletedRestore } from "./restore-files-dialog";
import {
  initialZoom,
  nearest,
  panSpan,
  spanAround,
  spanIncluding,
  type Point,
  type Zoom,
} from "./timeline-model";
import { useSnapshotBrowser } from "./use-snapshot-browser";
import type { Snapshots } from "./use-snapshots";
import { readAddress, useAddress } from "./use-history-address";

/** The tree loads only after the selection has rested this long, not while the slider is dragged. */
const SETTLE_DELAY_MS = 180;
const MIN_SIDE = 180;

interface Props {
  workspace: Workspace;
  snapshots: Snapshots;
  points: readonly Point[];
  put: (workspace: Workspace) => void;
}

type Pane = "files" | "changes";

export function HistoryView({ workspace, snapshots, points, put }: Props) {
  const now = useNow(30_000);
  const newest = points.at(-1) as Point;
  const oldest = points[0] as Point;
  const [first] = useState(readAddress);
  // The selection is a time, not a snapshot: it stays the same while snapshots are added and pruned.
  const [at, setAt] = useState(first.at ?? newest.at);
  const [zoom, setZoom] = useState<Zoom>(() => initialZoom(Math.min(oldest.at, first.at ?? oldest.at), now));
  const [span, setSpan] = useState(() => spanAround(at, zoom, now));
  const [pinned, setPinned] = useState<number | null>(null);
  const [pane, setPane] = useState<Pane>("files");
  const [path, setPath] = useState<string | null>(first.file);
  const [mode, setMode] = useState<ViewMode>("content");
  const [dialog, setDialog] = useState<HistoryDialog | null>(null);
  const [restored, setRestored] = useState<CompletedRestore | null>(null);
  /** The path being restored, or the restore being undone. */
  const [restoring, setRestoring] = useState<{
    path: string;
    point: Point;
    undo: CompletedRestore | null;
  } | null>(null);
  const [sideWidth, setSideWidth] = useState(() => Math.max(readLayout(workspace.id).sideWidth, 260));
  const root = useRef<HTMLElement>(null);

  const index = nearest(points, at);
  const point = points[index] as Point;
  const shown = useSettled(point);
  const other = pinned === null ? null : (points[nearest(points, pinned)] ?? null);
  const browser = useSnapshotBrowser(workspace.id, shown.id, first.above);
  useAddress(point.id === newest.id ? null : point.created_at, path);

  const choose = (at: number) => {
    setAt(at);
    setSpan((span) => spanIncluding(span, at));
  };
  const zoomTo = (zoom: Zoom) => {
    setZoom(zoom);
    setSpan(spanAround(point.at, zoom, now));
  };
  const pan = (part: number) => setSpan((span) => panSpan(span, part, oldest.at, Date.now()));
  const open = (path: string, mode?: ViewMode) => {
    setPath(path);
    if (mode) setMode(mode);
  };
  const home = useHomeRestore(workspace, snapshots, put);
  const createSnapshot = () => home.createSnapshot((snapshot) => choose(Date.parse(snapshot.created_at)));
  const focusRegion = (by: number) => focusNextRegion(root.current, by);
  const actions: HistoryActions = {
    openDialog: setDialog,
    createSnapshot,
    pin: setPinned,
    zoomTo,
    showPane: setPane,
    showFile: setMode,
    closeFile: () => setPath(null),
    goToNewest: () => choose(newest.at),
    goToOldest: () => choose(oldest.at),
    focusNextRegion: () => focusRegion(1),
  };
  const reasons = reasonsOf(workspace, home.isCreating);
  const menu = snapshotMenu(actions, { reasons, at: point.at, isPinned: pinned !== null });
  useKeyBindings((event) => {
    if (event.key === "F6") return () => focusRegion(event.shiftKey ? -1 : 1);
    const ctrl = (event.ctrlKey || event.metaKey) && !event.altKey;
    if (event.key === "F1" || (ctrl && event.shiftKey && event.code === "KeyP"))
      return () => setDialog("commands");
    return null;
  });

  const ends = endsOf(shown, other);
  const style = useMemo(() => ({ "--side-width": `${sideWidth}px` }) as CSSProperties, [sideWidth]);
  return (
    <main ref={root} className="history-main" data-open={path !== null} style={style}>
      <TimelinePanel
        workspace={workspace}
        points={points}
        index={index}
        span={span}
        zoom={zoom}
        now={Math.max(now, newest.at)}
        other={other?.at ?? null}
        summary={countWords(points.length, snapshots.complete)}
        menu={menu}
        reasons={reasons}
        isCreating={home.isCreating}
        actions={actions}
        onChoose={choose}
        onPan={pan}
      />
      {home.undoable && (
        <UndoBanner onUndo={home.undo} onDismiss={home.dismiss}>
          The home was restored from {formatFullInstant(home.undoable.restored.at)}. The previous home is kept
          as a snapshot.
        </UndoBanner>
      )}
      {restored && (
        <UndoBanner
          onUndo={() => setRestoring({ path: restored.path, point: shown, undo: restored })}
          onDismiss={() => setRestored(null)}
        >
          {displayName(restored.path)} was restored from {formatFullInstant(restored.at)}.
        </UndoBanner>
      )}
      {snapshots.failure !== null && (
        <div className="thin-banner" role="status">
          Cannot load older snapshots.
          <button className="link-button" onClick={snapshots.retry}>
            Retry
          </button>
        </div>
      )}
      <div className="columns snapshot-columns">
        <aside className="side snapshot-side" aria-label="Snapshot" data-region="list">
          <div className="snapshot-side-head">
            <SegmentedControl
              label="List"
              options={[
                ["files", "Files"],
                ["changes", other ? "Changes between" : "Changes since"],
              ]}
              value={pane}
              onChange={setPane}
            />
          </div>
          {other && (
            <p className="pinned soft small">
              <span>
                Compared with{" "}
                <strong title={formatFullInstant(other.at)}>
                  {other.name ?? formatInstant(other.at, now)}
                </strong>
              </span>
              <button
                className="icon-button"
                aria-label="Compare with current"
                title="Compare with current"
                onClick={() => setPinned(null)}
              >
                <Icon name="close" size={14} />
              </button>
            </p>
          )}
          {pane === "files" ? (
            <SnapshotTree
              workspace={workspace.id}
              browser={browser}
              active={path}
              reason={reasons.restoreFiles}
              onOpen={(path) => open(path)}
              onRestore={(path) => setRestoring({ path, point: shown, undo: null })}
            />
          ) : (
            <ChangesList
              workspace={workspace.id}
              from={ends.from}
              to={ends.to}
              active={path}
              onOpen={(path) => open(path, "diff")}
            />
          )}
        </aside>
        <Splitter
          kind="column"
          label="List width"
          value={sideWidth}
          min={MIN_SIDE}
          max={() => window.innerWidth * 0.6}
          onChange={setSideWidth}
        />
        {path === null ? (
          <div className="history-empty soft history-pick">
            <p>Choose a file to view it.</p>
            <p className="small">
              <kbd>←</kbd> <kbd>→</kbd> earlier or later · <kbd>F6</kbd> next region · <kbd>F1</kbd> command
              palette
            </p>
          </div>
        ) : (
          <SnapshotFile
            key={path}
            workspace={workspace}
            point={shown}
            other={other}
            path={path}
            bytes={bytesOf(browser.directories.get(parentOf(path))?.entries, nameOf(path))}
            mode={mode}
            now={now}
            reason={reasons.restoreFiles}
            onMode={setMode}
            onRestore={() => setRestoring({ path, point: shown, undo: null })}
            onClose={() => setPath(null)}
          />
        )}
      </div>
      {dialog && dialog !== "commands" && (
        <HistoryDialogs
          dialog={dialog}
          workspace={workspace}
          point={point}
          snapshots={snapshots}
          onRestoreHome={() => home.restore(point)}
          onClose={() => setDialog(null)}
        />
      )}
      {restoring && (
        <RestoreFilesDialog
          {...restoring}
          workspace={workspace}
          onRestored={setRestored}
          onClose={() => setRestoring(null)}
        />
      )}
      {dialog === "commands" && (
        <CommandPalette
          commands={historyCommands(actions, menu, path !== null)}
          onClose={() => setDialog(null)}
        />
      )}
    </main>
  );
}

/**
 * The two ends of a comparison, earlier first. Without a pinned snapshot, the later end is the
 * current home.
 */
function endsOf(point: Point, other: Point | null): { from: string; to: string | null } {
  if (!other) return { from: point.id, to: null };
  const [from, to] = other.at < point.at ? [other, point] : [point, other];
  return { from: from.id, to: to.id };
}

function countWords(count: number, complete: boolean): string {
  const words = count === 1 ? "1 snapshot" : `${count.toLocaleString("en")} snapshots`;
  return complete ? words : `${words} so far…`;
}

function bytesOf(entries: readonly { name: string; size: number }[] | undefined, name: string): number {
  return entries?.find((entry) => entry.name === name)?.size ?? 0;
}

/** The selected point, once the selection has rested. */
function useSettled(point: Point): Point {
  const [settled, setSettled] = useState(point);
  useEffect(() => {
    if (settled.id === point.id) return;
    const timer = setTimeout(() => setSettled(point), SETTLE_DELAY_MS);
    return () => clearTimeout(timer);
  }, [point, settled.id]);
  return settled.id === point.id ? point : settled;
}
