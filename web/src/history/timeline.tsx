// The timeline: a slider over all snapshots. Draws what timeline-model computes. Knows no network.
import {
  useEffect,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
  type KeyboardEvent,
  type PointerEvent,
  type RefObject,
} from "react";
import { formatFullInstant } from "../ui/format";
import {
  densityOf,
  instantAtFraction,
  localOffset,
  markKind,
  marksOf,
  nearest,
  fractionOf,
  indexAfterKey,
  ticksOf,
  type MarkKind,
  type Point,
  type Span,
  type Zoom,
} from "./timeline-model";

const LABELS = 18;
const TRACK = 40;
const AXIS = 22;
const HEIGHT = LABELS + TRACK + AXIS;
/** Top of the axis and bottom of the track. */
const BASE = LABELS + TRACK;
/** Width of a density bar with its gap. */
const BAR = 5;
const TICK_WIDTH = 76;

interface Props {
  points: readonly Point[];
  index: number;
  span: Span;
  zoom: Zoom;
  now: number;
  /** The other end of a comparison, in Unix milliseconds. */
  other: number | null;
  onChoose: (at: number) => void;
  onPan: (part: number) => void;
}

export const kindLabels: Record<MarkKind | "stream", string> = {
  named: "named",
  requested: "on request",
  stop: "on stop",
  stream: "automatically",
};

export function valueText(point: Point): string {
  const name = point.name ? `${point.name}, ` : "";
  const kind = point.name ? "" : `, ${kindLabels[markKind(point) ?? "stream"]}`;
  return `${name}${formatFullInstant(point.at)}${kind}`;
}

export function Timeline({ points, index, span, zoom, now, other, onChoose, onPan }: Props) {
  const element = useRef<HTMLDivElement>(null);
  const width = useWidth(element);
  const dragging = useRef(false);
  const [hover, setHover] = useState<number | null>(null);
  const chosen = points[index];
  useWheel(element, onPan);

  const pick = (event: PointerEvent): Point | undefined => {
    const box = event.currentTarget.getBoundingClientRect();
    const place = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
    return points[nearest(points, instantAtFraction(span, place))];
  };
  const choose = (event: PointerEvent) => {
    const point = pick(event);
    if (point) onChoose(point.at);
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const point = points[indexAfterKey(points, index, event.key, zoom) ?? -1];
    if (!point) return;
    event.preventDefault();
    onChoose(point.at);
  };
  const hovered = hover === null ? undefined : points[hover];
  return (
    <div
      ref={element}
      className="timeline"
      role="slider"
      aria-label="Time"
      aria-orientation="horizontal"
      aria-valuemin={1}
      aria-valuemax={points.length}
      aria-valuenow={index + 1}
      aria-valuetext={chosen && valueText(chosen)}
      tabIndex={0}
      onKeyDown={onKey}
      onPointerDown={(event) => {
        if (event.button !== 0) return;
        dragging.current = true;
        event.currentTarget.setPointerCapture(event.pointerId);
        choose(event);
      }}
      onPointerMove={(event) => {
        if (dragging.current) choose(event);
        else if (event.pointerType === "mouse") setHover(points.indexOf(pick(event) as Point));
      }}
      onPointerUp={() => (dragging.current = false)}
      onPointerCancel={() => (dragging.current = false)}
      onPointerLeave={() => setHover(null)}
    >
      {width > 0 && (
        <svg width={width} height={HEIGHT} aria-hidden="true">
          <Axis span={span} width={width} now={now} />
          {other !== null && chosen && <Compared span={span} width={width} from={other} to={chosen.at} />}
          <Density points={points} span={span} width={width} />
          <Marks points={points} span={span} width={width} />
          {hovered && hovered !== chosen && (
            <line className="hovered" {...upright(fractionOf(span, hovered.at) * width, LABELS)} />
          )}
          {chosen && <Handle x={fractionOf(span, chosen.at) * width} width={width} />}
        </svg>
      )}
      {hovered && hovered !== chosen && (
        <Hovered point={hovered} x={fractionOf(span, hovered.at) * width} width={width} />
      )}
    </div>
  );
}

const upright = (x: number, top: number) => ({ x1: x, x2: x, y1: top, y2: BASE });

function Axis({ span, width, now }: { span: Span; width: number; now: number }) {
  const ticks = useMemo(
    () => ticksOf(span, Math.max(2, Math.floor(width / TICK_WIDTH)), localOffset),
    [span, width],
  );
  const future = Math.max(0, Math.min(1, fractionOf(span, now))) * width;
  return (
    <>
      <rect className="track" x={0} y={LABELS} width={future} height={TRACK} />
      <line className="base" x1={0} x2={width} y1={BASE + 0.5} y2={BASE + 0.5} />
      {ticks.map((tick) => {
        const x = Math.round(fractionOf(span, tick.at) * width) + 0.5;
        // A label that would be cut off is not drawn.
        const fits = x > 20 && x < width - 20;
        return (
          <g key={tick.at} className={tick.major ? "tick major" : "tick"}>
            <line x1={x} x2={x} y1={tick.major ? LABELS : BASE} y2={BASE + 4} />
            {fits && (
              <text x={x} y={BASE + 17} textAnchor="middle">
                {tick.label}
              </text>
            )}
          </g>
        );
      })}
    </>
  );
}

function Density({ points, span, width }: { points: readonly Point[]; span: Span; width: number }) {
  const path = useMemo(() => {
    const count = Math.max(1, Math.floor(width / BAR));
    const part = width / count;
    return densityOf(points, span, count)
      .map((height, index) => {
        if (height === 0) return "";
        const tall = 4 + Math.round(height * (TRACK - 14));
        return `M${(index * part + 0.5).toFixed(1)} ${BASE}v${-tall}h${(part - 1.5).toFixed(1)}v${tall}z`;
      })
      .join("");
  }, [points, span, width]);
  return <path className="density" d={path} />;
}

function Marks({ points, span, width }: { points: readonly Point[]; span: Span; width: number }) {
  const marks = useMemo(() => marksOf(points, span, width), [points, span, width]);
  return marks.map(({ point, kind, x, label, before }) => (
    <g key={point.id} className={`mark ${kind}`}>
      <line {...upright(x, LABELS)} />
      <MarkShape kind={kind} x={x} />
      {label && (
        <text x={x} y={11} textAnchor={before ? "end" : "start"}>
          {label}
        </text>
      )}
    </g>
  ));
}

/** Distinguished by shape: a diamond, a circle, a square. */
function MarkShape({ kind, x }: { kind: MarkKind; x: number }) {
  const y = LABELS + 4;
  if (kind === "named") return <path d={`M${x} ${y - 4.5}l4.5 4.5-4.5 4.5-4.5-4.5z`} />;
  if (kind === "requested") return <circle cx={x} cy={y} r={3.2} />;
  return <rect x={x - 3} y={y - 3} width={6} height={6} />;
}

function Handle({ x, width }: { x: number; width: number }) {
  if (x < 0 || x > width) return null;
  return (
    <g className="handle">
      <line {...upright(x, LABELS)} />
      <path d={`M${x} ${BASE - 1}l6 8h-12z`} />
    </g>
  );
}

function Compared({ span, width, from, to }: { span: Span; width: number; from: number; to: number }) {
  const bounded = (at: number) => Math.max(0, Math.min(1, fractionOf(span, at))) * width;
  const [left, right] = [bounded(Math.min(from, to)), bounded(Math.max(from, to))];
  const pinned = fractionOf(span, from) * width;
  return (
    <g className="compared">
      <rect x={left} y={LABELS} width={right - left} height={TRACK} />
      {pinned >= 0 && pinned <= width && <line {...upright(pinned, LABELS)} />}
    </g>
  );
}

function Hovered({ point, x, width }: { point: Point; x: number; width: number }) {
  return (
    <p
      className={x > width / 2 ? "timeline-hover end" : "timeline-hover"}
      style={x > width / 2 ? { right: `${width - x}px` } : { left: `${x}px` }}
    >
      {valueText(point)}
    </p>
  );
}

function useWidth(element: RefObject<HTMLElement | null>): number {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const box = element.current;
    if (!box) return;
    const measure = () => setWidth(Math.floor(box.clientWidth));
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(box);
    return () => observer.disconnect();
  }, [element]);
  return width;
}

/** The wheel pans the timeline. A React listener is passive and could not prevent the page from scrolling. */
function useWheel(element: RefObject<HTMLElement | null>, onPan: (part: number) => void): void {
  const pan = useRef(onPan);
  useEffect(() => {
    pan.current = onPan;
  });
  useEffect(() => {
    const box = element.current;
    if (!box) return;
    const onWheel = (event: WheelEvent) => {
      if (event.ctrlKey) return; // the browser zooms
      event.preventDefault();
      const by = Math.abs(event.deltaX) > Math.abs(event.deltaY) ? event.deltaX : event.deltaY;
      pan.current(by / box.clientWidth);
    };
    box.addEventListener("wheel", onWheel, { passive: false });
    return () => box.removeEventListener("wheel", onWheel);
  }, [element]);
}
