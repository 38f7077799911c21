import { describe, expect, it } from "vitest";
import type { Snapshot } from "../api/types";
import {
  DAY,
  densityOf,
  initialZoom,
  HOUR,
  instantAtFraction,
  marksOf,
  MINUTE,
  nearest,
  panSpan,
  fractionOf,
  pointsOf,
  spanAround,
  spanIncluding,
  indexAfterKey,
  ticksOf,
  withPage,
  withPoint,
  type Point,
} from "./timeline-model";

const NOON = Date.parse("2025-03-12T12:00:00Z");
const utc = () => 0;
const snapshot = (at: number, more: Partial<Snapshot> = {}): Snapshot => ({
  id: `s${at}`,
  kind: "stream",
  consistency: "crash",
  epoch: 1,
  changed_bytes: 0,
  uploaded_bytes: 0,
  stored_bytes: 0,
  created_at: new Date(at).toISOString(),
  ...more,
});
const points = (...minutes: number[]): Point[] =>
  pointsOf(minutes.map((minute) => snapshot(NOON + minute * MINUTE)));
const minutes = (points: readonly Point[]) => points.map((point) => (point.at - NOON) / MINUTE);

describe("points", () => {
  it("are sorted by time", () => {
    expect(minutes(points(3, 1, 2))).toEqual([1, 2, 3]);
  });

  it("lose what a page no longer contains", () => {
    const known = points(1, 2, 3, 4, 5);
    expect(minutes(withPage(known, points(3, 5, 6)))).toEqual([1, 2, 3, 5, 6]);
    expect(minutes(withPage(known, points(-1, 0), known[0]?.at))).toEqual([-1, 0, 1, 2, 3, 4, 5]);
    expect(minutes(withPage(known, []))).toEqual([1, 2, 3, 4, 5]);
    expect(minutes(withPage([], points(1)))).toEqual([1]);
  });

  it("replace a point that was renamed", () => {
    const known = points(1, 2, 3);
    const named = { ...(known[1] as Point), name: "before the exam" };
    expect(withPoint(known, named).map((point) => point.name ?? "")).toEqual(["", "before the exam", ""]);
    expect(minutes(withPoint(known, points(9)[0] as Point))).toEqual([1, 2, 3, 9]);
  });
});

describe("selection", () => {
  const known = points(0, 10, 20);
  const at = (minute: number) => nearest(known, NOON + minute * MINUTE);
  it("snaps to the nearest point", () => {
    expect([at(-99), at(0), at(4), at(5), at(6), at(20), at(999)]).toEqual([0, 0, 0, 0, 1, 2, 2]);
    expect(nearest([], NOON)).toBe(-1);
  });

  it("moves with the slider keys", () => {
    const many = points(0, 1, 2, 59, 61, 125, 60 * 25);
    expect(indexAfterKey(many, 0, "ArrowRight", "hour")).toBe(1);
    expect(indexAfterKey(many, 0, "ArrowLeft", "hour")).toBe(0);
    expect(indexAfterKey(many, 0, "PageUp", "day")).toBe(3);
    expect(indexAfterKey(many, 6, "PageDown", "day")).toBe(5); // nothing within an hour: still a step
    expect(indexAfterKey(many, 1, "PageUp", "month")).toBe(6);
    expect([indexAfterKey(many, 3, "Home", "day"), indexAfterKey(many, 3, "End", "day")]).toEqual([0, 6]);
    expect([indexAfterKey(many, 3, "x", "day"), indexAfterKey([], -1, "End", "day")]).toEqual([null, null]);
  });
});

describe("the span", () => {
  it("centres an instant and hides the future", () => {
    const past = spanAround(NOON - 40 * DAY, "day", NOON);
    expect(fractionOf(past, NOON - 40 * DAY)).toBeCloseTo(0.5);
    const present = spanAround(NOON, "day", NOON);
    expect(present.to - NOON).toBeCloseTo(0.04 * DAY);
    expect(instantAtFraction(present, fractionOf(present, NOON))).toBeCloseTo(NOON);
  });

  it("moves only to include the selection", () => {
    const span = spanAround(NOON, "hour", NOON);
    expect(spanIncluding(span, NOON - 10 * MINUTE)).toEqual(span);
    const moved = spanIncluding(span, NOON - 3 * HOUR);
    expect(fractionOf(moved, NOON - 3 * HOUR)).toBeCloseTo(0.04);
    expect(moved.to - moved.from).toBe(HOUR);
    expect(fractionOf(spanIncluding(span, NOON + HOUR), NOON + HOUR)).toBeCloseTo(0.96);
  });

  it("pans between the oldest snapshot and now", () => {
    const span = spanAround(NOON, "hour", NOON);
    expect(panSpan(span, 5, NOON - DAY, NOON)).toEqual(span);
    expect(panSpan(span, -1, NOON - DAY, NOON).to).toBe(span.to - HOUR);
    expect(fractionOf(panSpan(span, -500, NOON - DAY, NOON), NOON - DAY)).toBeCloseTo(0.04);
    expect(panSpan(span, -1, NOON - MINUTE, NOON)).toEqual(span); // all is seen already
  });

  it("starts with an hour or a day", () => {
    expect([initialZoom(NOON - MINUTE, NOON), initialZoom(NOON - 90 * DAY, NOON)]).toEqual(["hour", "day"]);
  });
});

describe("ticks", () => {
  const labels = (from: string, hours: number, most: number, offset: (at: number) => number = utc) => {
    const start = Date.parse(from);
    return ticksOf({ from: start, to: start + hours * HOUR }, most, offset).map((tick) => tick.label);
  };
  it("are round local times", () => {
    expect(labels("2025-03-12T11:52:00Z", 1, 6)).toEqual([
      "12:00",
      "12:10",
      "12:20",
      "12:30",
      "12:40",
      "12:50",
    ]);
    expect(labels("2025-03-12T16:00:00Z", 24, 5)).toEqual(["18:00", "13 Mar", "06:00", "12:00"]);
    expect(labels("2025-03-12T16:30:00Z", 24, 5, () => 330)).toEqual(["13 Mar", "06:00", "12:00", "18:00"]);
  });

  it("are days, Mondays, months, years", () => {
    expect(labels("2025-03-12T12:00:00Z", 3 * 24, 4)).toEqual(["13 Mar", "14 Mar", "15 Mar"]);
    expect(labels("2025-03-12T12:00:00Z", 31 * 24, 6)).toEqual(["17 Mar", "24 Mar", "31 Mar", "7 Apr"]);
    expect(labels("2024-11-15T12:00:00Z", 150 * 24, 6)).toEqual(["Dec", "2025", "Feb", "Mar", "Apr"]);
  });

  it("stay at round hours across a clock change", () => {
    const changed = Date.parse("2025-03-30T01:00:00Z");
    const berlin = (at: number) => (at < changed ? 60 : 120);
    expect(labels("2025-03-29T22:00:00Z", 12, 4, berlin)).toEqual([
      "30 Mar",
      "03:00",
      "06:00",
      "09:00",
      "12:00",
    ]);
  });
});

describe("drawing", () => {
  const span = { from: NOON, to: NOON + 100 * MINUTE };
  it("keeps low densities visible", () => {
    const heights = densityOf(
      points(0, ...Array.from({ length: 50 }, (_, index) => 60 + index / 10)),
      span,
      10,
    );
    expect(heights[6]).toBe(1);
    expect(heights[0]).toBeGreaterThan(0.15);
    expect(heights[3]).toBe(0);
  });

  it("marks notable snapshots if there is space", () => {
    const all = pointsOf([
      snapshot(NOON + 10 * MINUTE),
      snapshot(NOON + 20 * MINUTE, { kind: "stop" }),
      snapshot(NOON + 20.2 * MINUTE, { name: "exam" }),
      snapshot(NOON + 26 * MINUTE, { kind: "requested" }),
      snapshot(NOON + 99 * MINUTE, { name: "before the great refactoring of everything" }),
      snapshot(NOON + 200 * MINUTE, { name: "later" }),
    ]);
    const marks = marksOf(all, span, 1000);
    expect(marks.map((mark) => [mark.kind, mark.label, mark.before])).toEqual([
      ["named", "before the great refact…", true],
      ["named", "exam", false],
      ["requested", "Requested", false],
    ]);
    expect(marksOf(all, span, 100).map((mark) => mark.label)).toEqual(["", "exam"]);
  });
});
