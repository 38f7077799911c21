// The timeline's arithmetic: which times are visible, where they are drawn, which snapshot is
// nearest. Pure: `now` and the offset to UTC are arguments. The selection is a time and not a
// snapshot id, so it stays the same while snapshots are added and pruned.
import type { Snapshot } from "../api/types";

export type Point = Snapshot & { at: number };

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

export const zooms = ["hour", "day", "month", "year"] as const;
export type Zoom = (typeof zooms)[number];
export const spanLengths: Record<Zoom, number> = { hour: HOUR, day: DAY, month: 31 * DAY, year: 366 * DAY };

/** The visible time range, in Unix milliseconds. */
export interface Span {
  from: number;
  to: number;
}

/** Space after now, as a fraction of the visible range, so that new snapshots stay visible. */
const FUTURE_FRACTION = 0.04;

/** Minutes that local time is ahead of UTC at an instant. */
export type Offset = (at: number) => number;
export const localOffset: Offset = (at) => -new Date(at).getTimezoneOffset();

/** Snapshots as points, oldest first. */
export function pointsOf(snapshots: readonly Snapshot[]): Point[] {
  return snapshots
    .map((snapshot) => ({ ...snapshot, at: Date.parse(snapshot.created_at) }))
    .sort((a, b) => a.at - b.at);
}

/**
 * `known` with one page from the server. The page is complete from its oldest snapshot up to
 * `before` (or the newest), so
 * known snapshots that are missing from it have been pruned.
 */
export function withPage(known: readonly Point[], page: readonly Point[], before = Infinity): Point[] {
  const oldest = page[0]?.at ?? before;
  const earlier = known.filter((point) => point.at < oldest);
  const later = known.filter((point) => point.at >= before);
  return [...earlier, ...page, ...later];
}

export function withPoint(known: readonly Point[], point: Point): Point[] {
  const others = known.filter((other) => other.id !== point.id);
  const at = firstFrom(others, point.at);
  return [...others.slice(0, at), point, ...others.slice(at)];
}

/** The index of the first point that is not before `at`. */
function firstFrom(points: readonly Point[], at: number): number {
  let low = 0;
  let high = points.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((points[middle] as Point).at < at) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The index of the point nearest to `at`; -1 if there are no points. */
export function nearest(points: readonly Point[], at: number): number {
  const after = firstFrom(points, at);
  const [before, next] = [points[after - 1], points[after]];
  if (!next) return after - 1;
  return before && at - before.at <= next.at - at ? after - 1 : after;
}

/** The index that a slider key moves to. Null: not a slider key. Page keys jump by an hour or a day. */
export function indexAfterKey(
  points: readonly Point[],
  index: number,
  key: string,
  zoom: Zoom,
): number | null {
  const point = points[index];
  if (!point) return null;
  const last = points.length - 1;
  const jump = zoom === "hour" || zoom === "day" ? HOUR : DAY;
  switch (key) {
    case "ArrowRight":
    case "ArrowUp":
      return Math.min(index + 1, last);
    case "ArrowLeft":
    case "ArrowDown":
      return Math.max(index - 1, 0);
    case "Home":
      return 0;
    case "End":
      return last;
    case "PageUp":
      return Math.min(Math.max(nearest(points, point.at + jump), index + 1), last);
    case "PageDown":
      return Math.max(Math.min(nearest(points, point.at - jump), index - 1), 0);
    default:
      return null;
  }
}

/** An hour if that shows everything, otherwise a day: recent snapshots are needed most often. */
export function initialZoom(oldest: number, now: number): Zoom {
  return now - oldest < HOUR ? "hour" : "day";
}

/** A span with `at` in its middle, moved back if it would show too much of the future. */
export function spanAround(at: number, zoom: Zoom, now: number): Span {
  const length = spanLengths[zoom];
  const to = Math.min(at + length / 2, now + length * FUTURE_FRACTION);
  return { from: to - length, to };
}

/** `span`, moved just far enough to include `at`. */
export function spanIncluding(span: Span, at: number): Span {
  const room = (span.to - span.from) * FUTURE_FRACTION;
  const by = at < span.from + room / 2 ? at - span.from - room : at > span.to ? at - span.to + room : 0;
  return { from: span.from + by, to: span.to + by };
}

/** `span`, moved by a fraction of its length, but not beyond the oldest snapshot or now. */
export function panSpan(span: Span, part: number, oldest: number, now: number): Span {
  const length = span.to - span.from;
  const latest = now + length * FUTURE_FRACTION;
  const earliest = Math.min(oldest - length * FUTURE_FRACTION + length, latest);
  const to = Math.max(earliest, Math.min(latest, span.to + part * length));
  return { from: to - length, to };
}

/** Position of an instant in the span: 0 at the beginning, 1 at the end. */
export const fractionOf = (span: Span, at: number): number => (at - span.from) / (span.to - span.from);
export const instantAtFraction = (span: Span, place: number): number =>
  span.from + place * (span.to - span.from);

export interface Tick {
  at: number;
  label: string;
  /** Starts a day or a year, and is drawn stronger. */
  major: boolean;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: "UTC" });
const dayAndMonth = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const month = new Intl.DateTimeFormat("en-GB", { month: "short", timeZone: "UTC" });
const steps = [1, 2, 5, 10, 15, 30].map((minutes) => minutes * MINUTE);
steps.push(...[1, 2, 3, 6, 12].map((hours) => hours * HOUR), DAY, 2 * DAY, 7 * DAY);
const monthSteps = [1, 2, 3, 6, 12];
/** 1 January 1970 was a Thursday; weeks begin on Mondays. */
const MONDAY = 4 * DAY;

/** Round local times in the span, at most `most`. */
export function ticksOf(span: Span, most: number, offset: Offset): Tick[] {
  const length = span.to - span.from;
  const step = steps.find((step) => length / step <= most);
  return step ? evenTicks(span, step, offset) : monthTicks(span, most, offset);
}

function evenTicks(span: Span, step: number, offset: Offset): Tick[] {
  const base = step === 7 * DAY ? MONDAY : 0;
  const ticks: Tick[] = [];
  const first = span.from + offset(span.from) * MINUTE;
  for (let wall = Math.ceil((first - base) / step) * step + base; ; wall += step) {
    const at = instantOf(wall, offset);
    if (at > span.to) return ticks;
    const midnight = wall % DAY === 0;
    if (at >= span.from)
      ticks.push({ at, label: (midnight ? dayAndMonth : clock).format(wall), major: step < DAY && midnight });
  }
}

function monthTicks(span: Span, most: number, offset: Offset): Tick[] {
  const months = (span.to - span.from) / (30 * DAY);
  const step = monthSteps.find((step) => months / step <= most) ?? 12;
  const start = new Date(span.from + offset(span.from) * MINUTE);
  const ticks: Tick[] = [];
  for (let number = Math.floor(start.getUTCMonth() / step) * step; ; number += step) {
    const wall = Date.UTC(start.getUTCFullYear(), number);
    const at = instantOf(wall, offset);
    if (at > span.to) return ticks;
    const january = new Date(wall).getUTCMonth() === 0;
    const label = january ? String(new Date(wall).getUTCFullYear()) : month.format(wall);
    if (at >= span.from) ticks.push({ at, label, major: january });
  }
}

/** The instant at which local time is `wall`. */
function instantOf(wall: number, offset: Offset): number {
  const guess = wall - offset(wall) * MINUTE;
  return wall - offset(guess) * MINUTE;
}

/**
 * Density of points in `count` equal parts, from 0 (none) to 1 (the most). Logarithmic, so that a
 * few next to many stay visible.
 */
export function densityOf(points: readonly Point[], span: Span, count: number): number[] {
  const parts = new Array<number>(count).fill(0);
  for (let index = firstFrom(points, span.from); index < points.length; index += 1) {
    const place = fractionOf(span, (points[index] as Point).at);
    if (place > 1) break;
    const part = Math.min(count - 1, Math.floor(place * count));
    parts[part] = (parts[part] ?? 0) + 1;
  }
  const most = Math.log1p(Math.max(...parts));
  return parts.map((part) => (part === 0 ? 0 : Math.log1p(part) / most));
}

export type MarkKind = "named" | "requested" | "stop";

export interface Mark {
  point: Point;
  kind: MarkKind;
  x: number;
  /** Empty if there is no space for it. */
  label: string;
  /** The label ends at the mark instead of starting there. */
  before: boolean;
}

/** Marks closer than this, in pixels, cannot be distinguished. */
const MARK_GAP = 9;
/** Average width of a letter in a label, in pixels. */
const LETTER = 6.4;
/** Space between two labels, in pixels. */
const LABEL_GAP = 10;
const MAX_LABEL_LETTERS = 24;

export function markKind(snapshot: Snapshot): MarkKind | null {
  if (snapshot.name) return "named";
  return snapshot.kind === "stream" ? null : snapshot.kind;
}

/**
 * The snapshots worth a mark, as many as fit in `width` pixels: named first, then requested, then
 * stops; newest first.
 */
export function marksOf(points: readonly Point[], span: Span, width: number): Mark[] {
  const order: MarkKind[] = ["named", "requested", "stop"];
  const found: { point: Point; kind: MarkKind }[] = [];
  for (let index = firstFrom(points, span.from); index < points.length; index += 1) {
    const point = points[index] as Point;
    if (point.at > span.to) break;
    const kind = markKind(point);
    if (kind) found.push({ point, kind });
  }
  found.sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind) || b.point.at - a.point.at);
  const taken = new Map<number, number>(); // by cell of MARK_GAP: where the mark in it is
  const labels: [number, number][] = [];
  const marks: Mark[] = [];
  for (const { point, kind } of found) {
    const x = fractionOf(span, point.at) * width;
    const cell = Math.floor(x / MARK_GAP);
    const near = [cell - 1, cell, cell + 1].some((other) => {
      const place = taken.get(other);
      return place !== undefined && Math.abs(place - x) < MARK_GAP;
    });
    if (near) continue;
    taken.set(cell, x);
    const text = labelOf(point, kind);
    const length = text.length * LETTER;
    const free = [x, x - length].find(
      (left) =>
        left >= 0 &&
        left + length <= width &&
        labels.every(([from, to]) => left + length + LABEL_GAP <= from || left >= to + LABEL_GAP),
    );
    if (free !== undefined) labels.push([free, free + length]);
    marks.push({
      point,
      kind,
      x,
      label: free === undefined ? "" : text,
      before: free !== undefined && free < x,
    });
  }
  return marks;
}

function labelOf(point: Point, kind: MarkKind): string {
  const text = kind === "named" ? (point.name ?? "") : kind === "requested" ? "Requested" : "Stop";
  const letters = [...text];
  return letters.length > MAX_LABEL_LETTERS ? `${letters.slice(0, MAX_LABEL_LETTERS - 1).join("")}…` : text;
}
