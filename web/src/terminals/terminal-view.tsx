// One terminal on the page: xterm.js on one side, the numbered stream on the other.
import { FitAddon } from "@xterm/addon-fit";
import { Unicode11Addon } from "@xterm/addon-unicode11";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { useEffect, useRef, useState } from "react";
import { request, ApiError } from "../api/client";
import { socketUrl } from "../api/endpoints";
import type { Exit, Size } from "../api/agent";
import { wakeOnReturn, type LinkState } from "../streams/reconnecting-socket";
import { TerminalStream } from "../streams/terminal-stream";
import { useDark } from "../ui/theme";
import { toast } from "../ui/toasts";
import { allowTerminalStyles } from "./xterm-styles";
import { light, dark } from "./terminal-themes";

const SCROLLBACK_LINES = 10_000;
/** A row of typing into nothing says so once, not for each key. */
const HINT_EVERY_MS = 5_000;

export interface TerminalHandle {
  focus: () => void;
  type: (text: string) => void;
  /** Whether a full-screen program runs, to which the function keys belong. */
  fullScreen: () => boolean;
  retry: () => void;
}

interface Props {
  workspace: string;
  id: string;
  active: boolean;
  readOnly: boolean;
  label: string;
  onTitle: (title: string) => void;
  onExit: (exit: Exit) => void;
  /** It is not there any longer. */
  onGone: () => void;
  /** Enter after the end. */
  onRestart: () => void;
  onHandle: (handle: TerminalHandle | null) => void;
  /** Ctrl armed on the touch keys: applied to the next letter. */
  transform?: (data: string) => string;
}

export function TerminalView(props: Props) {
  const { workspace, id, active, readOnly } = props;
  const place = useRef<HTMLDivElement>(null);
  const [state, setState] = useState<LinkState>("connecting");
  const [ended, setEnded] = useState<Exit | null>(null);
  const isDark = useDark();
  const latest = useRef(props);
  const ended_ = useRef(false);
  const parts = useRef<{ terminal: Terminal; fit: () => void } | null>(null);
  useEffect(() => {
    latest.current = props;
  });

  useEffect(() => {
    const element = place.current;
    if (!element) return;
    allowTerminalStyles();
    const mono = getComputedStyle(document.documentElement).getPropertyValue("--mono");
    const terminal = new Terminal({
      allowProposedApi: true,
      fontFamily: "monospace",
      fontSize: 13,
      lineHeight: 1.2,
      scrollback: SCROLLBACK_LINES,
      disableStdin: readOnly,
      cursorBlink: false,
      macOptionIsMeta: false,
      minimumContrastRatio: 4.5,
      theme: light,
    });
    const fitter = new FitAddon();
    terminal.loadAddon(fitter);
    terminal.loadAddon(new Unicode11Addon());
    terminal.unicode.activeVersion = "11";
    terminal.loadAddon(new WebLinksAddon((_, url) => openLink(url)));
    terminal.open(element);

    let peer: Size | null = null;
    let hinted = 0;
    const stream = new TerminalStream(
      {
        client: crypto.randomUUID(),
        url: (query) => socketUrl(workspace, `terminals/${id}/attach`, query),
        readOnly,
      },
      {
        write: (bytes, drawn) => terminal.write(bytes, drawn),
        redraw: (bytes, drawn) => {
          // A reset in the stream: one by call would overtake what is still being written.
          terminal.write("\x1bc");
          terminal.write(bytes, drawn);
        },
        resized: (size) => {
          peer = size;
          if (size.cols !== terminal.cols || size.rows !== terminal.rows)
            terminal.resize(size.cols, size.rows);
        },
        exited: (exit) => {
          ended_.current = true;
          setEnded(exit);
          latest.current.onExit(exit);
        },
        state: setState,
        lost: () => {
          // A WebSocket does not say why it failed; a request does.
          request(`/workspaces/${workspace}/agent/terminals/${id}`).catch((error: unknown) => {
            if (error instanceof ApiError && error.status === 404 && error.code === "not_found")
              latest.current.onGone();
          });
        },
      },
    );

    const fit = () => {
      if (readOnly || !element.offsetParent) return;
      const size = fitter.proposeDimensions();
      if (!size || !Number.isFinite(size.cols) || size.cols < 2 || size.rows < 1) return;
      if (size.cols !== terminal.cols || size.rows !== terminal.rows) terminal.resize(size.cols, size.rows);
      if (!peer || peer.cols !== size.cols || peer.rows !== size.rows) stream.resize(size);
    };
    const encoder = new TextEncoder();
    const type = (bytes: Uint8Array, byHand: boolean) => {
      if (stream.type(bytes) || readOnly || ended_.current || !byHand) return;
      const now = Date.now();
      if (now - hinted < HINT_EVERY_MS) return;
      hinted = now;
      toast("Not connected: what you type in the terminal is dropped.");
    };
    terminal.onData((data) => {
      if (ended_.current) {
        if (data === "\r") latest.current.onRestart();
        return;
      }
      // Answers of the terminal to a program's question begin with an escape: no person is told of those.
      type(encoder.encode(latest.current.transform?.(data) ?? data), !data.startsWith("\x1b"));
    });
    terminal.onBinary((data) =>
      type(
        Uint8Array.from(data, (character) => character.charCodeAt(0)),
        false,
      ),
    );
    terminal.onTitleChange((title) => latest.current.onTitle(title));
    terminal.attachCustomKeyEventHandler((event) => {
      // Ctrl+C with a selection copies, Ctrl+V pastes: both are the browser's; Ctrl+Shift+C/V as in other terminals.
      const ctrl = event.ctrlKey && !event.altKey && !event.metaKey;
      if (ctrl && event.code === "KeyC" && (event.shiftKey || terminal.hasSelection())) {
        if (event.type === "keydown") {
          event.preventDefault();
          if (terminal.hasSelection()) void navigator.clipboard?.writeText(terminal.getSelection());
          terminal.clearSelection();
        }
        return false;
      }
      if (ctrl && event.code === "KeyV") return false;
      return !event.defaultPrevented;
    });

    const observer = new ResizeObserver(() => requestAnimationFrame(fit));
    observer.observe(element);
    const onFocus = () => fit(); // another viewer may have changed the size: whoever types decides
    terminal.textarea?.addEventListener("focus", onFocus);
    // Cells are measured when the font is set: so it is set when it has come.
    void document.fonts.load(`13px ${mono}`).then(() => {
      if (!parts.current) return;
      terminal.options.fontFamily = mono;
      fit();
    });
    fit();
    stream.start(element.offsetParent ? { cols: terminal.cols, rows: terminal.rows } : null);
    const stopWaking = wakeOnReturn(stream.socket);
    parts.current = { terminal, fit };
    latest.current.onHandle({
      focus: () => terminal.focus(),
      type: (text) => {
        if (!ended_.current) type(encoder.encode(text), true);
        terminal.focus();
      },
      fullScreen: () => terminal.buffer.active.type === "alternate",
      retry: () => stream.retry(),
    });
    return () => {
      latest.current.onHandle(null);
      parts.current = null;
      stopWaking();
      observer.disconnect();
      stream.close();
      terminal.dispose();
    };
  }, [workspace, id, readOnly]);

  useEffect(() => {
    const terminal = parts.current?.terminal;
    if (terminal) terminal.options.theme = isDark ? dark : light;
  }, [isDark]);
  useEffect(() => {
    if (active) requestAnimationFrame(() => parts.current?.fit());
  }, [active]);

  const status = ended ? (ended.code ?? 128 + (ended.signal ?? 0)) : null;
  return (
    <div
      className={state === "open" || ended ? "terminal" : "terminal dimmed"}
      hidden={!active}
      role="tabpanel"
      aria-label={props.label}
      data-terminal={id}
      data-state={ended ? "ended" : state}
    >
      <div ref={place} className="terminal-place" />
      {ended ? (
        <p className="terminal-note" role="status">
          The shell ended with status {status}.{readOnly ? "" : " Enter starts a new one."}
        </p>
      ) : (
        state === "waiting" && (
          <p className="terminal-note" role="status">
            Connection lost. Trying again…
          </p>
        )
      )}
    </div>
  );
}

/** Links come from the guest: only the web's, in a tab that knows nothing of this one. */
function openLink(url: string): void {
  if (/^https?:\/\//i.test(url)) window.open(url, "_blank", "noopener,noreferrer");
}
