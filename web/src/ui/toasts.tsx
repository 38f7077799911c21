// Toasts: short messages that disappear. Errors stay longer and show the request id.
import { useEffect, useRef, useSyncExternalStore } from "react";
import { ApiError, errorMessage } from "../api/client";
import { writeClipboard } from "./clipboard";
import { Icon } from "./icons";

export interface Toast {
  id: number;
  kind: "info" | "error";
  text: string;
  requestId: string;
  action: ToastAction | null;
}

/** A button on a toast. */
export interface ToastAction {
  label: string;
  run: () => void;
}

const INFO_MS = 5_000;
/** Long enough to read an error, or to decide about an action. */
const ERROR_MS = 20_000;
/** More at once would cover the page. */
const MAX_SHOWN = 4;

let toasts: readonly Toast[] = [];
let next = 1;
const listeners = new Set<() => void>();

function change(to: readonly Toast[]): void {
  toasts = to;
  for (const listener of listeners) listener();
}

function dismiss(id: number): void {
  change(toasts.filter((toast) => toast.id !== id));
}

function show(toast: Omit<Toast, "id">, ms: number): void {
  const others = toasts.filter((other) => other.text !== toast.text);
  const id = next++;
  change([...others, { id, ...toast }].slice(-MAX_SHOWN));
  setTimeout(() => dismiss(id), ms);
}

export function toast(text: string, action: ToastAction | null = null): void {
  show({ kind: "info", text, requestId: "", action }, action ? ERROR_MS : INFO_MS);
}

/**
 * Shows an error. `action` names what failed ("stop algo"): "Cannot stop algo. …". `button` is what the user
 * may do about it.
 */
export function toastError(error: unknown, action?: string, button: ToastAction | null = null): void {
  const message = errorMessage(error);
  const text = action ? `Cannot ${action}: ${message}` : message;
  const requestId = error instanceof ApiError ? error.requestId : "";
  show({ kind: "error", text, requestId, action: button }, ERROR_MS);
}

export async function copyText(text: string, what: string): Promise<void> {
  try {
    await writeClipboard(text);
    toast(`${what} copied`);
  } catch {
    toastError(
      new Error("The browser denied access to the clipboard. Select the text and copy it yourself."),
      "copy to the clipboard",
    );
  }
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function Toasts() {
  const shown = useSyncExternalStore(subscribe, () => toasts);
  const layer = useRef<HTMLDivElement>(null);
  // A popover is above open dialogs. Showing it again moves it above those opened since.
  useEffect(() => {
    const element = layer.current;
    if (!element || typeof element.showPopover !== "function") return;
    if (element.matches(":popover-open")) element.hidePopover();
    if (shown.length > 0) element.showPopover();
  }, [shown]);
  return (
    <div ref={layer} className="toasts" popover="manual" role="status" aria-live="polite">
      {shown.map((toast) => (
        <div
          key={toast.id}
          className={`toast ${toast.kind}`}
          role={toast.kind === "error" ? "alert" : undefined}
        >
          <p>{toast.text}</p>
          <button className="icon-button" aria-label="Dismiss" onClick={() => dismiss(toast.id)}>
            <Icon name="close" />
          </button>
          {toast.action && (
            <button
              className="link-button"
              onClick={() => {
                dismiss(toast.id);
                toast.action?.run();
              }}
            >
              {toast.action.label}
            </button>
          )}
          {toast.requestId && (
            <p className="request-id">
              Request <code>{toast.requestId}</code>{" "}
              <button className="link-button" onClick={() => void copyText(toast.requestId, "Request id")}>
                Copy
              </button>
            </p>
          )}
        </div>
      ))}
    </div>
  );
}
