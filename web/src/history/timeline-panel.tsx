// The upper part of the history page: zoom, timeline, and the selected snapshot with its actions.
import type { Workspace } from "../api/types";
import { formatBytes, formatFullInstant } from "../ui/format";
import { Icon } from "../ui/icons";
import { MenuButton, type MenuEntry } from "../ui/menu";
import { ReasonButton } from "../ui/reason-button";
import { SegmentedControl } from "../ui/segmented-control";
import { ForkedFrom } from "../workspaces/forked-from";
import type { HistoryActions, Reasons } from "./history-commands";
import { kindLabels, Timeline } from "./timeline";
import { markKind, zooms, type Point, type Span, type Zoom } from "./timeline-model";

/** How far Earlier and Later move, as a fraction of the visible span. */
const PAN_FRACTION = 0.75;

const zoomLabels: Record<Zoom, string> = { hour: "Hour", day: "Day", month: "Month", year: "Year" };

interface Props {
  workspace: Workspace;
  points: readonly Point[];
  /** The selected snapshot in `points`. */
  index: number;
  span: Span;
  zoom: Zoom;
  now: number;
  /** The other end of a comparison, in Unix milliseconds. */
  other: number | null;
  /** How many snapshots there are. */
  summary: string;
  menu: MenuEntry[];
  reasons: Reasons;
  isCreating: boolean;
  actions: HistoryActions;
  onChoose: (at: number) => void;
  onPan: (part: number) => void;
}

export function TimelinePanel(props: Props) {
  const { workspace, points, index, span, zoom, now, other, summary } = props;
  const { menu, reasons, isCreating, actions, onChoose, onPan } = props;
  const point = points[index] as Point;
  return (
    <section className="time" aria-label="Timeline" data-region="time">
      <div className="time-tools">
        <SegmentedControl
          label="Visible time range"
          options={zooms.map((zoom) => [zoom, zoomLabels[zoom]] as const)}
          value={zoom}
          onChange={actions.zoomTo}
        />
        <button
          className="icon-button"
          aria-label="Earlier"
          title="Earlier"
          onClick={() => onPan(-PAN_FRACTION)}
        >
          <Icon name="earlier" />
        </button>
        <button className="icon-button" aria-label="Later" title="Later" onClick={() => onPan(PAN_FRACTION)}>
          <Icon name="later" />
        </button>
        <button
          className="icon-button"
          aria-label="Newest"
          title="Newest (End)"
          disabled={index === points.length - 1}
          onClick={actions.goToNewest}
        >
          <Icon name="newest" />
        </button>
        <span className="spring" />
        <span className="soft wide-only">
          {workspace.forked_from ? <ForkedFrom origin={workspace.forked_from} /> : summary}
        </span>
        <span className="wide-only">
          <ReasonButton className="button small" reason={reasons.create} onClick={actions.createSnapshot}>
            {isCreating ? "Creating snapshot…" : "Create snapshot"}
          </ReasonButton>
        </span>
      </div>
      <Timeline
        points={points}
        index={index}
        span={span}
        zoom={zoom}
        now={now}
        other={other}
        onChoose={onChoose}
        onPan={onPan}
      />
      <div className="point-bar">
        <div className="point-words">
          <h2>{point.name ?? formatFullInstant(point.at)}</h2>
          <p className="soft small">{aboutPoint(point)}</p>
        </div>
        <span className="wide-only point-actions">
          <ReasonButton
            className="button small"
            reason={reasons.edit}
            onClick={() => actions.openDialog("name")}
          >
            {point.name ? "Rename snapshot…" : "Name snapshot…"}
          </ReasonButton>
          <ReasonButton
            className="button small"
            reason={reasons.restoreHome}
            onClick={() => actions.openDialog("restore")}
          >
            Restore home…
          </ReasonButton>
          <button className="button small" onClick={() => actions.openDialog("fork")}>
            Fork…
          </button>
        </span>
        <MenuButton label="Actions for this snapshot" items={menu}>
          <Icon name="more" />
        </MenuButton>
      </div>
    </section>
  );
}

function aboutPoint(point: Point): string {
  const facts = point.name
    ? [formatFullInstant(point.at)]
    : [`Created ${kindLabels[markKind(point) ?? "stream"]}`];
  facts.push(`${formatBytes(point.changed_bytes)} changed`);
  if (point.consistency === "clean") facts.push("clean");
  return facts.join(" · ");
}
