import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { subscribeToEvents } from "./event-stream";

/** An EventSource whose network is controlled by the test. */
class FakeEventSource {
  static opened: FakeEventSource[] = [];
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;
  closed = false;
  private listeners = new Map<string, ((event: { data: string }) => void)[]>();

  constructor(readonly url: string) {
    FakeEventSource.opened.push(this);
  }
  addEventListener(name: string, listener: (event: { data: string }) => void): void {
    this.listeners.set(name, [...(this.listeners.get(name) ?? []), listener]);
  }
  emit(name: string): void {
    for (const listener of this.listeners.get(name) ?? []) listener({ data: "{}" });
  }
  close(): void {
    this.closed = true;
  }
}

beforeEach(() => {
  vi.useFakeTimers();
  FakeEventSource.opened = [];
  vi.stubGlobal("EventSource", FakeEventSource);
  vi.stubGlobal("fetch", () => Promise.reject(new Error("the network is dead")));
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const last = () => FakeEventSource.opened.at(-1) as FakeEventSource;

test("a silent stream is dead within 20 s and is opened again", () => {
  const states: boolean[] = [];
  const stop = subscribeToEvents({
    path: "/workspaces/events",
    probe: "/auth/session",
    handlers: {},
    onState: (open) => states.push(open),
    onNotFound: () => undefined,
  });
  const first = last();
  first.onopen?.();
  for (let beat = 0; beat < 10; beat += 1) {
    vi.advanceTimersByTime(5_000);
    first.emit("heartbeat");
  }
  expect(states).toEqual([true]);
  // The network drops everything. No error is reported.
  vi.advanceTimersByTime(20_000);
  expect(states[1]).toBe(false);
  expect(first.closed).toBe(true);
  expect(FakeEventSource.opened.length).toBeGreaterThan(1);
  last().onopen?.();
  expect(states.at(-1)).toBe(true);
  stop();
  expect(last().closed).toBe(true);
});
