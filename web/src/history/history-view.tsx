// The history of a home: the timeline, the files and changes at the selected snapshot, one file of it, and the actions on
// the snapshot. Holds the state of the page; the parts are in modules of their own.
import { focusNextRegion } from "./history-focus";
import { useEffect, useMemo, useRef, useState, type CSSProperties } from "react";
import { snapshotsApi } from "../api/endpoints";
import type { Snapshot, Workspace } from "../api/types";
import { ForkWorkspaceDialog } from "../workspaces/fork-workspace-dialog";
import { ForkedFrom } from "../workspaces/forked-from";
import { ConfirmDialog } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { MenuButton, type MenuEntry } from "../ui/menu";
import { useKeyBindings } from "../ui/use-keys";
import { SegmentedControl } from "../ui/segmented-control";
import { ReasonButton } from "../ui/reason-button";
import { useNow } from "../ui/time";
import { toast, toastError } from "../ui/toasts";
import { formatInstant, formatBytes, formatFullInstant } from "../ui/format";
import { readLayout } from "../workbench/layout";
import { Splitter } from "../ui/splitter";
import { CommandPalette } from "../ui/command-palette";
import { type Command } from "../ui/commands";
import { nameOf, parentOf, displayName as shownName } from "../files/paths";
import { ChangesList } from "./changes-list";
import { VerifyHomeDialog } from "./verify-home-dialog";
import { NameSnapshotDialog } from "./name-snapshot-dialog";
import { RestoreHomeDialog } from "./restore-home-dialog";
import { SnapshotFile, type ViewMode } from "./snapshot-file";
import { SnapshotTree } from "./snapshot-tree";
import { RestoreFilesDialog, type CompletedRestore } from "./restore-files-dialog";
import { kindLabels, Timeline } from "./timeline";
import {
  initialZoom,
  markKind,
  nearest,
  panSpan,
  spanAround,
  spanIncluding,
  zooms,
  type Point,
  type Zoom,
} from "./timeline-model";
import { useSnapshotBrowser } from "./use-snapshot-browser";
import type { Snapshots } from "./use-snapshots";
import { readAddress, useAddress } from "./use-history-address";

/** The tree loads only after the selection has rested this long, not while the slider is dragged. */
const SETTLE_DELAY_MS = 180;
const MIN_SIDE = 180;
/** How far Earlier and Later move, as a fraction of the visible span. */
const PAN_FRACTION = 0.75;

const zoomWords: Record<Zoom, string> = { hour: "Hour", day: "Day", month: "Month", year: "Year" };

interface Props {
  workspace: Workspace;
  snapshots: Snapshots;
  points: readonly Point[];
  put: (workspace: Workspace) => void;
}

type OpenDialog = "name" | "fork" | "restore" | "delete" | "verify" | "commands" | null;
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
  const [asked, setAsked] = useState<OpenDialog>(null);
  const [taking, setTaking] = useState(false);
  const [undo, setUndo] = useState<{ to: Point; was: Snapshot } | null>(null);
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
  const past = useSnapshotBrowser(workspace.id, shown.id, first.above);
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
  const take = () => {
    setTaking(true);
    snapshotsApi
      .create(workspace.id)
      .then(
        (snapshot) => {
          snapshots.update(snapshot);
          choose(Date.parse(snapshot.created_at));
          toast("Snapshot created");
        },
        (error: unknown) => toastError(error, "create a snapshot"),
      )
      .finally(() => setTaking(false));
  };
  const restoreHome = async () => {
    // Of a stopped workspace, this is the current home, which is not the newest snapshot if it was restored before.
    const was = await snapshotsApi.create(workspace.id);
    snapshots.update(was);
    put(await snapshotsApi.restore(workspace.id, point.id));
    setUndo({ to: point, was });
  };
  const undoRestore = () => {
    if (!undo) return;
    snapshotsApi.restore(workspace.id, undo.was.id).then(
      (changed) => {
        put(changed);
        setUndo(null);
        toast("Restore undone");
      },
      (error: unknown) => toastError(error, "undo"),
    );
  };

  const readOnly = workspace.access === "write" ? "" : "You have read-only access to this workspace.";
  const notWritable =
    readOnly ||
    (workspace.phase === "running"
      ? ""
      : "Start the workspace first. Files are restored into the running home.");
  const reasons = {
    take: readOnly || (taking ? "A snapshot is being created." : ""),
    name: readOnly,
    restore:
      readOnly || (workspace.phase === "terminated" ? "" : "Stop the workspace first. It is using the home."),
  };
  const label = point.name ?? formatFullInstant(point.at);
  const pin: MenuEntry =
    pinned === null
      ? { label: "Compare with this snapshot", icon: "pin", run: () => setPinned(point.at) }
      : { label: "Compare with current", icon: "pin", run: () => setPinned(null) };
  const menu: MenuEntry[] = [
    { label: "Name snapshot…", reason: reasons.name, run: () => setAsked("name") },
    { label: "Fork…", icon: "fork", run: () => setAsked("fork") },
    {
      label: "Restore home…",
      icon: "restore",
      reason: reasons.restore,
      run: () => setAsked("restore"),
    },
    pin,
    "line",
    { label: "Create snapshot", icon: "plus", reason: reasons.take, run: take },
    { label: "Verify home…", icon: "check", reason: readOnly, run: () => setAsked("verify") },
    "line",
    { label: "Delete snapshot…", danger: true, reason: readOnly, run: () => setAsked("delete") },
  ];
  const focusRegion = (by: number) => {
    focusNextRegion(root.current, by);
  };
  useKeyBindings((event) => {
    if (event.key === "F6") return () => focusRegion(event.shiftKey ? -1 : 1);
    const ctrl = (event.ctrlKey || event.metaKey) && !event.altKey;
    if (event.key === "F1" || (ctrl && event.shiftKey && event.code === "KeyP"))
      return () => setAsked("commands");
    return null;
  });
  const commands: Command[] = [
    ...menu.flatMap((item) =>
      item === "line" || item.reason ? [] : [{ label: item.label, run: item.run ?? (() => undefined) }],
    ),
    ...zooms.map((zoom) => ({
      label: `Show a${zoom === "hour" ? "n" : ""} ${zoom}`,
      run: () => zoomTo(zoom),
    })),
    { label: "Show files", run: () => setPane("files") },
    { label: "Show changes", run: () => setPane("changes") },
    ...(path === null
      ? []
      : [
          { label: "Show file content", run: () => setMode("content") },
          { label: "Show diff of the file", run: () => setMode("diff") },
          { label: "Close file", run: () => setPath(null) },
        ]),
    { label: "Go to newest snapshot", keys: "End", run: () => choose(newest.at) },
    { label: "Go to oldest snapshot", keys: "Home", run: () => choose(oldest.at) },
    { label: "Next region", keys: "F6", run: () => focusRegion(1) },
  ];

  const ends = endsOf(shown, other);
  const style = useMemo(() => ({ "--side-width": `${sideWidth}px` }) as CSSProperties, [sideWidth]);
  return (
    <main ref={root} className="history-main" data-open={path !== null} style={style}>
      <section className="time" aria-label="Timeline" data-region="time">
        <div className="time-tools">
          <SegmentedControl
            label="Visible time range"
            options={zooms.map((zoom) => [zoom, zoomWords[zoom]] as const)}
            value={zoom}
            onChange={zoomTo}
          />
          <button
            className="icon-button"
            aria-label="Earlier"
            title="Earlier"
            onClick={() => pan(-PAN_FRACTION)}
          >
            <Icon name="earlier" />
          </button>
          <button className="icon-button" aria-label="Later" title="Later" onClick={() => pan(PAN_FRACTION)}>
            <Icon name="later" />
          </button>
          <button
            className="icon-button"
            aria-label="Newest"
            title="Newest (End)"
            disabled={point.id === newest.id}
            onClick={() => choose(newest.at)}
          >
            <Icon name="newest" />
          </button>
          <span className="spring" />
          <span className="soft wide-only">
            {workspace.forked_from ? (
              <ForkedFrom origin={workspace.forked_from} />
            ) : (
              countWords(points.length, snapshots.complete)
            )}
          </span>
          <span className="wide-only">
            <ReasonButton className="button small" reason={reasons.take} onClick={take}>
              {taking ? "Creating snapshot…" : "Create snapshot"}
            </ReasonButton>
          </span>
        </div>
        <Timeline
          points={points}
          index={index}
          span={span}
          zoom={zoom}
          now={Math.max(now, newest.at)}
          other={other?.at ?? null}
          onChoose={choose}
          onPan={pan}
        />
        <div className="point-bar">
          <div className="point-words">
            <h2>{label}</h2>
            <p className="soft small">{aboutPoint(point)}</p>
          </div>
          <span className="wide-only point-actions">
            <ReasonButton className="button small" reason={reasons.name} onClick={() => setAsked("name")}>
              {point.name ? "Rename snapshot…" : "Name snapshot…"}
            </ReasonButton>
            <ReasonButton
              className="button small"
              reason={reasons.restore}
              onClick={() => setAsked("restore")}
            >
              Restore home…
            </ReasonButton>
            <button className="button small" onClick={() => setAsked("fork")}>
              Fork…
            </button>
          </span>
          <MenuButton label="Actions for this snapshot" items={menu}>
            <Icon name="more" />
          </MenuButton>
        </div>
      </section>
      {undo && (
        <div className="thin-banner" role="status">
          The home was restored from {formatFullInstant(undo.to.at)}. The previous home is kept as a snapshot.
          <button className="link-button" onClick={undoRestore}>
            Undo
          </button>
          <button className="link-button" onClick={() => setUndo(null)}>
            Dismiss
          </button>
        </div>
      )}
      {restored && (
        <div className="thin-banner" role="status">
          {shownName(restored.path)} was restored from {formatFullInstant(restored.at)}.
          <button
            className="link-button"
            onClick={() => setRestoring({ path: restored.path, point: shown, undo: restored })}
          >
            Undo
          </button>
          <button className="link-button" onClick={() => setRestored(null)}>
            Dismiss
          </button>
        </div>
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
              browser={past}
              active={path}
              reason={notWritable}
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
              <kbd>←</kbd> <kbd>→</kbd> move along the time line · <kbd>F6</kbd> leads on · <kbd>F1</kbd>{" "}
              shows all commands
            </p>
          </div>
        ) : (
          <SnapshotFile
            key={path}
            workspace={workspace}
            point={shown}
            other={other}
            path={path}
            bytes={bytesOf(past.directories.get(parentOf(path))?.entries, nameOf(path))}
            mode={mode}
            now={now}
            reason={notWritable}
            onMode={setMode}
            onRestore={() => setRestoring({ path, point: shown, undo: null })}
            onClose={() => setPath(null)}
          />
        )}
      </div>
      {asked === "name" && (
        <NameSnapshotDialog
          workspace={workspace.id}
          point={point}
          onDone={snapshots.update}
          onClose={() => setAsked(null)}
        />
      )}
      {asked === "fork" && (
        <ForkWorkspaceDialog workspace={workspace} snapshot={point} onClose={() => setAsked(null)} />
      )}
      {asked === "restore" && (
        <RestoreHomeDialog
          workspace={workspace}
          point={point}
          onConfirm={restoreHome}
          onClose={() => setAsked(null)}
        />
      )}
      {asked === "delete" && (
        <ConfirmDialog
          title="Delete this snapshot?"
          text={`The snapshot of ${formatFullInstant(point.at)} is permanently deleted.`}
          action="Delete snapshot"
          onConfirm={async () => {
            await snapshotsApi.remove(workspace.id, point.id);
            snapshots.remove(point.id);
            toast("Snapshot deleted");
          }}
          onClose={() => setAsked(null)}
        />
      )}
      {restoring && (
        <RestoreFilesDialog
          {...restoring}
          workspace={workspace}
          newest={newest}
          onSnapshotCreated={snapshots.update}
          onRestored={setRestored}
          onClose={() => setRestoring(null)}
        />
      )}
      {asked === "verify" && <VerifyHomeDialog workspace={workspace} onClose={() => setAsked(null)} />}
      {asked === "commands" && (
        <CommandPalette commands={commands} files={[]} onClose={() => setAsked(null)} />
      )}
    </main>
  );
}

/** The two ends of a comparison, earlier first. Without a pinned snapshot, the later end is the current home. */
function endsOf(point: Point, other: Point | null): { from: string; to: string | null } {
  if (!other) return { from: point.id, to: null };
  const [from, to] = other.at < point.at ? [other, point] : [point, other];
  return { from: from.id, to: to.id };
}

function aboutPoint(point: Point): string {
  const facts = point.name
    ? [formatFullInstant(point.at)]
    : [`Created ${kindLabels[markKind(point) ?? "stream"]}`];
  facts.push(`${formatBytes(point.changed_bytes)} changed`);
  if (point.consistency === "clean") facts.push("clean");
  return facts.join(" · ");
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
