// Panes whose borders can be dragged or moved by arrow keys, and what the page remembers of its layout.
import { useRef, useSyncExternalStore, type KeyboardEvent, type PointerEvent } from "react";

export interface Layout {
  side: boolean;
  sideWidth: number;
  panel: boolean;
  panelHeight: number;
  expanded: readonly string[];
  open: readonly string[];
  active: string | null;
  terminal: string | null;
}

const fresh: Layout = {
  side: true,
  sideWidth: 240,
  panel: true,
  panelHeight: 260,
  expanded: [],
  open: [],
  active: null,
  terminal: null,
};
const key = (workspace: string) => `burrow.layout.${workspace}`;

export function readLayout(workspace: string): Layout {
  try {
    const stored = JSON.parse(localStorage.getItem(key(workspace)) ?? "{}") as Partial<Layout>;
    const strings = (value: unknown): string[] =>
      Array.isArray(value) ? value.filter((one): one is string => typeof one === "string").slice(0, 200) : [];
    return { ...fresh, ...stored, expanded: strings(stored.expanded), open: strings(stored.open) };
  } catch {
    return fresh;
  }
}

export function writeLayout(workspace: string, layout: Layout): void {
  try {
    localStorage.setItem(key(workspace), JSON.stringify(layout));
  } catch {
    // Storage is full or forbidden: the next visit begins fresh.
  }
}

/** One pane at a time; as workspace.css has it. */
const NARROW = "(max-width: 720px)";

export function useNarrow(): boolean {
  return useSyncExternalStore(
    (listener) => {
      const query = window.matchMedia(NARROW);
      query.addEventListener("change", listener);
      return () => query.removeEventListener("change", listener);
    },
    () => window.matchMedia(NARROW).matches,
  );
}

interface SplitterProps {
  /** `column`: a vertical bar that changes a width. */
  kind: "column" | "row";
  label: string;
  value: number;
  min: number;
  max: () => number;
  onChange: (value: number) => void;
}

const KEY_STEP = 24;

export function Splitter({ kind, label, value, min, max, onChange }: SplitterProps) {
  const from = useRef<{ pointer: number; value: number } | null>(null);
  const bounded = (wanted: number) => Math.round(Math.max(min, Math.min(max(), wanted)));
  const at = (event: PointerEvent) => (kind === "column" ? event.clientX : -event.clientY);
  const onKey = (event: KeyboardEvent) => {
    const [less, more] = kind === "column" ? ["ArrowLeft", "ArrowRight"] : ["ArrowDown", "ArrowUp"];
    const by = event.key === less ? -KEY_STEP : event.key === more ? KEY_STEP : 0;
    if (by === 0) return;
    event.preventDefault();
    onChange(bounded(value + by));
  };
  return (
    <div
      className={`splitter ${kind}`}
      role="separator"
      aria-orientation={kind === "column" ? "vertical" : "horizontal"}
      aria-label={label}
      aria-valuenow={value}
      aria-valuemin={min}
      tabIndex={0}
      onKeyDown={onKey}
      onPointerDown={(event) => {
        from.current = { pointer: at(event), value };
        event.currentTarget.setPointerCapture(event.pointerId);
      }}
      onPointerMove={(event) => {
        if (from.current) onChange(bounded(from.current.value + at(event) - from.current.pointer));
      }}
      onPointerUp={() => (from.current = null)}
      onPointerCancel={() => (from.current = null)}
    />
  );
}
