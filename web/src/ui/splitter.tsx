// A border between two panes that can be dragged or moved with the arrow keys.
import { useRef, type KeyboardEvent, type PointerEvent } from "react";

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
