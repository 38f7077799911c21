// One terminal: connects xterm.js to a TerminalStream.
import { FitAddon } from "@xterm/addon-fit";
import { Unicode11Addon } from "@xterm/addon-unicode11";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { uuidv4 } from "lib0/random";
import { useEffect, useRef, useState } from "react";
import { request, ApiError } from "../api/client";
import { socketUrl } from "../api/endpoints";
import type { Exit, Size } from "../api/agent";
import { reconnectOnReturn, type ConnectionState } from "../streams/reconnecting-socket";
import { TerminalStream } from "../streams/terminal-stream";
import { displayName } from "../files/paths";
import { usePreferences } from "../ui/preferences";
import { useIsDark } from "../ui/theme";
import { writeClipboard } from "../ui/clipboard";
import { copyText, toast, toastError } from "../ui/toasts";
import { copiedText } from "./clipboard-requests";
import { localLinks } from "./local-links";
import { leaveQueriesToAgent, themeBytes } from "./program-queries";
import { allowTerminalStyles } from "./xterm-styles";
import { lightTheme, darkTheme } from "./terminal-themes";

const SCROLLBACK_LINES = 10_000;
/** While disconnected, typing shows a hint this often, not for each key. */
const HINT_INTERVAL_MS = 5_000;
/** A shell that shows nothing for this long may hang in a start file. */
const SILENT_START_MS = 8_000;
/** A shell that exits within this time may have been ended by a start file. */
const BROKEN_START_MS = 2_000;

export interface TerminalHandle {
  focus: () => void;
  type: (text: string) => void;
  /** Whether a full-screen program is running, which then gets the function keys. */
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
  /** The terminal no longer exists. */
  onGone: () => void;
  /** The user pressed Enter after the shell exited. */
  onRestart: () => void;
  /** The user asked for a shell that reads no start files, in place of this one. */
  onPlainShell: () => void;
  onHandle: (handle: TerminalHandle | null) => void;
  /** Opens a link that a program has printed, by http or https. */
  onLink?: ((url: string) => void) | undefined;
  /** Applies the Ctrl of the touch keys to the next letter. */
  transform?: (data: string) => string;
}

export function TerminalView(props: Props) {
  const { workspace, id, active, readOnly } = props;
  const place = useRef<HTMLDivElement>(null);
  const [state, setState] = useState<ConnectionState>("connecting");
  const [ended, setEnded] = useState<Exit | null>(null);
  /** Why a start file may be broken; empty if nothing speaks for it. */
  const [brokenStart, setBrokenStart] = useState("");
  /** What was typed while the connection was lost, until the user decides about it. */
  const [heldInput, setHeldInput] = useState("");
  const isDark = useIsDark();
  const { terminalFontSize, terminalCursor } = usePreferences();
  const latest = useRef(props);
  const ended_ = useRef(false);
  const parts = useRef<{ terminal: Terminal; stream: TerminalStream; fit: () => void } | null>(null);
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
      // Colours are shown as programs choose them. A higher ratio makes reversed text grey: xterm.js
      // compares it with the colour that it has only when it is not reversed.
      minimumContrastRatio: 1,
      theme: lightTheme,
    });
    const fitter = new FitAddon();
    terminal.loadAddon(fitter);
    terminal.loadAddon(new Unicode11Addon());
    terminal.unicode.activeVersion = "11";
    const followLink = (url: string) => {
      if (/^https?:\/\//i.test(url)) (latest.current.onLink ?? openLink)(url);
    };
    terminal.loadAddon(new WebLinksAddon((_, url) => followLink(url)));
    terminal.registerLinkProvider(localLinks(terminal, followLink));
    leaveQueriesToAgent(terminal);
    terminal.open(element);

    let redrawing = false;
    let peer: Size | null = null;
    let hinted = 0;
    let openedAt = 0;
    let hasTyped = false;
    let silent: ReturnType<typeof setTimeout> | undefined;
    const stream = new TerminalStream(
      {
        client: uuidv4(),
        url: (query) => socketUrl(workspace, `terminals/${id}/attach`, query),
        readOnly,
      },
      {
        write: (bytes, drawn) => {
          setBrokenStart("");
          terminal.write(bytes, drawn);
        },
        redraw: (bytes, drawn) => {
          // Reset through the stream: terminal.reset() would overtake output that is still being written.
          terminal.write("\x1bc", () => (redrawing = true));
          terminal.write(bytes, () => {
            redrawing = false;
            drawn();
          });
        },
        onResize: (size) => {
          peer = size;
          // After the output that was printed for the old size. Only then has every viewer the same screen.
          terminal.write("", () => {
            if (size.cols !== terminal.cols || size.rows !== terminal.rows)
              terminal.resize(size.cols, size.rows);
          });
        },
        onExit: (exit) => {
          ended_.current = true;
          setEnded(exit);
          const soon = !hasTyped && performance.now() - openedAt < BROKEN_START_MS;
          setBrokenStart(soon ? "The shell ended at once. A start file such as ~/.bashrc may end it." : "");
          latest.current.onExit(exit);
        },
        onHeldInput: setHeldInput,
        onState: (state) => {
          setState(state);
          if (state !== "open" || openedAt > 0) return;
          openedAt = performance.now();
          silent = setTimeout(() => {
            if (stream.hasOutput || ended_.current) return;
            setBrokenStart("No output yet. A start file such as ~/.bashrc may be waiting for something.");
          }, SILENT_START_MS);
        },
        onClose: () => {
          // A WebSocket does not report why it failed; a request does.
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
      if (!stream.hasScreen) terminal.resize(size.cols, size.rows);
      if (!peer || peer.cols !== size.cols || peer.rows !== size.rows) stream.resize(size);
    };
    const encoder = new TextEncoder();
    const type = (bytes: Uint8Array, byHand: boolean) => {
      hasTyped ||= byHand;
      if (stream.sendInput(bytes) || readOnly || ended_.current || !byHand) return;
      const now = Date.now();
      if (now - hinted < HINT_INTERVAL_MS) return;
      hinted = now;
      toast("Disconnected. What you type in the terminal is dropped.");
    };
    terminal.onData((data) => {
      if (ended_.current) {
        if (data === "\r") latest.current.onRestart();
        return;
      }
      // A redraw that switches focus reports on is no change of the focus.
      if (redrawing && (data === "\x1b[I" || data === "\x1b[O")) return;
      // Reports of the mouse and the focus start with an escape. They are not typed, so they show no hint.
      type(encoder.encode(latest.current.transform?.(data) ?? data), !data.startsWith("\x1b"));
    });
    terminal.onBinary((data) =>
      type(
        Uint8Array.from(data, (character) => character.charCodeAt(0)),
        false,
      ),
    );
    terminal.parser.registerOscHandler(52, (sequence) => {
      const text = copiedText(sequence);
      if (text !== null && latest.current.active) void copyForProgram(text, element);
      return true;
    });
    terminal.onTitleChange((title) => latest.current.onTitle(title));
    terminal.attachCustomKeyEventHandler((event) => {
      // Ctrl+C with a selection copies and Ctrl+V pastes, as in the browser. Ctrl+Shift+C/V works
      // as in other terminals.
      const ctrl = event.ctrlKey && !event.altKey && !event.metaKey;
      if (ctrl && event.code === "KeyC" && (event.shiftKey || terminal.hasSelection())) {
        if (event.type === "keydown") {
          event.preventDefault();
          if (terminal.hasSelection()) {
            writeClipboard(terminal.getSelection()).catch((error) => toastError(error, "copy"));
          }
          terminal.clearSelection();
        }
        return false;
      }
      if (ctrl && event.code === "KeyV") return false;
      return !event.defaultPrevented;
    });

    const observer = new ResizeObserver(() => requestAnimationFrame(fit));
    observer.observe(element);
    const onFocus = () => fit(); // another viewer may have changed the size; the focused one decides
    terminal.textarea?.addEventListener("focus", onFocus);
    // xterm.js measures cells when the font is set, so it is set once it has loaded.
    void document.fonts.load(`13px ${mono}`).then(() => {
      if (!parts.current) return;
      terminal.options.fontFamily = mono;
      fit();
    });
    fit();
    stream.start(element.offsetParent ? { cols: terminal.cols, rows: terminal.rows } : null);
    const stopWaking = reconnectOnReturn(stream.connection);
    parts.current = { terminal, stream, fit };
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
      clearTimeout(silent);
      stopWaking();
      observer.disconnect();
      stream.close();
      terminal.dispose();
    };
  }, [workspace, id, readOnly]);

  useEffect(() => {
    const theme = isDark ? darkTheme : lightTheme;
    if (!parts.current) return;
    parts.current.terminal.options.theme = theme;
    parts.current.stream.setColors(themeBytes(theme));
  }, [isDark, workspace, id, readOnly]);
  useEffect(() => {
    if (!parts.current) return;
    const { terminal, fit } = parts.current;
    terminal.options.fontSize = terminalFontSize;
    terminal.options.cursorStyle = terminalCursor;
    fit();
  }, [terminalFontSize, terminalCursor, workspace, id, readOnly]);
  useEffect(() => {
    if (active) requestAnimationFrame(() => parts.current?.fit());
  }, [active]);

  const status = ended ? (ended.code ?? 128 + (ended.signal ?? 0)) : null;
  const decide = (send: boolean) => {
    parts.current?.stream.resolveHeldInput(send);
    parts.current?.terminal.focus();
  };
  const plainShellButton = (
    <button className="link-button" onClick={props.onPlainShell}>
      Open a plain shell
    </button>
  );
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
          {brokenStart || `The shell exited with status ${status}.`}
          {readOnly ? "" : " Press Enter to start a new one. "}
          {brokenStart && !readOnly && plainShellButton}
        </p>
      ) : (
        state === "waiting" && (
          <p className="terminal-note" role="status">
            Reconnecting…
          </p>
        )
      )}
      {!ended && state === "open" && heldInput !== "" && (
        <p className="terminal-note" role="alert">
          You typed <code className="held-input">{visibleText(heldInput)}</code> while the connection was
          lost.{" "}
          <button className="link-button" onClick={() => decide(true)}>
            Send it now
          </button>{" "}
          <button className="link-button" onClick={() => decide(false)}>
            Discard
          </button>
        </p>
      )}
      {!ended && state === "open" && brokenStart && !readOnly && (
        <p className="terminal-note" role="status">
          {brokenStart} {plainShellButton}
        </p>
      )}
    </div>
  );
}

/** Longest held text that is shown whole. */
const MAX_SHOWN_INPUT = 60;

/** Typed keys as text: Enter and other control keys by their names. */
function visibleText(input: string): string {
  const text = displayName(input.replaceAll("\r", "⏎"));
  return text.length > MAX_SHOWN_INPUT ? `${text.slice(0, MAX_SHOWN_INPUT)}…` : text;
}

/** Copies what a program offers if the terminal has the focus, else asks. The user is always told. */
async function copyForProgram(text: string, terminal: HTMLElement): Promise<void> {
  const offer = () =>
    toast("A program in the terminal offers text to copy.", {
      label: "Copy",
      run: () => void copyText(text, "Text"),
    });
  if (!terminal.contains(document.activeElement)) return offer();
  try {
    await writeClipboard(text);
    toast("A program in the terminal has copied text to your clipboard.");
  } catch {
    offer(); // the browser wants a click first
  }
}

/** Opens a link printed by the guest in a tab without access to this one. */
function openLink(url: string): void {
  window.open(url, "_blank", "noopener,noreferrer");
}
