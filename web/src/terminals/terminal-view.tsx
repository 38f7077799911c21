// One terminal: connects xterm.js to a TerminalStream.
import { FitAddon } from "@xterm/addon-fit";
import { SearchAddon } from "@xterm/addon-search";
import { Unicode11Addon } from "@xterm/addon-unicode11";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { uuidv4 } from "lib0/random";
import { useEffect, useRef, useState, type MouseEvent } from "react";
import { request, ApiError } from "../api/client";
import { filesApi, socketUrl, terminalsApi } from "../api/endpoints";
import type { Exit, Size } from "../api/agent";
import { reconnectOnReturn, type ConnectionState } from "../streams/reconnecting-socket";
import { TerminalStream } from "../streams/terminal-stream";
import { displayName } from "../files/paths";
import { ContextMenu, type MenuEntry } from "../ui/menu";
import { currentPreferences, usePreferences } from "../ui/preferences";
import { useIsDark } from "../ui/theme";
import { writeClipboard } from "../ui/clipboard";
import { copyText, toast, toastError } from "../ui/toasts";
import { copiedText } from "./clipboard-requests";
import type { Command } from "./command-list";
import { CommandMarks } from "./command-marks";
import { fileLinks } from "./file-links";
import { MAX_HIGHLIGHTED } from "./find-text";
import { linkGestures } from "./link-gestures";
import { localLinks } from "./local-links";
import { asksBeforePaste, pasteRisk } from "./paste";
import { PasteDialog } from "./paste-dialog";
import { leaveQueriesToAgent, themeBytes } from "./program-queries";
import { TerminalFind } from "./terminal-find";
import { terminalMenu } from "./terminal-menu";
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
  /** Opens the find widget, with the selected text if it is in one line. */
  find: () => void;
  /** Scrolls to the previous or the next prompt. */
  jump: (by: 1 | -1) => void;
  copyOutput: () => void;
  retry: () => void;
}

/** A file in the output of a program, at a place. */
export type OpenFile = (path: string, line: number, column: number) => void;

interface Props {
  workspace: string;
  id: string;
  /** The one whose keys are typed, of those that are shown. */
  active: boolean;
  /** Shown, perhaps beside others. */
  shown: boolean;
  readOnly: boolean;
  canSplit: boolean;
  /** Absolute path of the home. */
  home: string;
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
  /** The focus is in the terminal. */
  onFocus: () => void;
  onSplit: () => void;
  onRename: () => void;
  onClose: () => void;
  onOpenFile?: OpenFile | undefined;
  /** Opens a link that a program has printed, by http or https. */
  onLink?: ((url: string) => void) | undefined;
  /** Applies the Ctrl of the touch keys to the next letter. */
  transform?: (data: string) => string;
}

export function TerminalView(props: Props) {
  const { workspace, id, shown, readOnly } = props;
  const place = useRef<HTMLDivElement>(null);
  const [state, setState] = useState<ConnectionState>("connecting");
  const [ended, setEnded] = useState<Exit | null>(null);
  /** Why a start file may be broken; empty if nothing speaks for it. */
  const [brokenStart, setBrokenStart] = useState("");
  /** What was typed while the connection was lost, until the user decides about it. */
  const [heldInput, setHeldInput] = useState("");
  const [search, setSearch] = useState<SearchAddon | null>(null);
  /** How often the find widget was asked for, and for what. Null: it is closed. */
  const [find, setFind] = useState<{ request: number; initial: string } | null>(null);
  /** Text that is pasted only with a yes. */
  const [paste, setPaste] = useState<string | null>(null);
  const [menu, setMenu] = useState<{ x: number; y: number; items: MenuEntry[] } | null>(null);
  const isDark = useIsDark();
  const { terminalFontSize, terminalCursor } = usePreferences();
  const latest = useRef(props);
  const ended_ = useRef(false);
  const parts = useRef<{
    terminal: Terminal;
    stream: TerminalStream;
    marks: CommandMarks;
    fit: () => void;
  } | null>(null);
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
    const searching = new SearchAddon({ highlightLimit: MAX_HIGHLIGHTED });
    terminal.loadAddon(searching);
    setSearch(searching);
    const followLink = (url: string) => {
      if (/^https?:\/\//i.test(url)) (latest.current.onLink ?? openLink)(url);
    };
    const gestures = linkGestures(element);
    const webLinks = gestures.handler(followLink);
    terminal.loadAddon(new WebLinksAddon(webLinks.activate, webLinks));
    // Links that programs name themselves (OSC 8).
    terminal.options.linkHandler = webLinks;
    terminal.registerLinkProvider(localLinks(terminal, gestures, followLink));
    const marks = new CommandMarks(terminal, (command, event) => {
      setMenu({ x: event.clientX, y: event.clientY, items: [outputItem(command)] });
    });
    const outputItem = (command: Command): MenuEntry => ({
      label: "Copy output",
      icon: "copy",
      run: () => void copyText(marks.outputOf(command), "Output"),
    });
    const exists = rememberBriefly((path) => filesApi.exists(workspace, path));
    terminal.registerLinkProvider(
      fileLinks(terminal, gestures, {
        home: () => latest.current.home,
        exists,
        open: (path, line, column) => latest.current.onOpenFile?.(path, line, column),
        directoriesAt: async (line) => {
          const known = marks.list.directoriesAt(line);
          if (known.length > 0) return known;
          // A shell that tells nothing: where it is now.
          const { directory } = await terminalsApi.get(workspace, id);
          return directory ? [directory] : [];
        },
      }),
    );
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

    const onPaste = (event: ClipboardEvent) => {
      const text = event.clipboardData?.getData("text/plain") ?? "";
      if (readOnly || ended_.current || text === "") return;
      const isBracketed = terminal.modes.bracketedPasteMode;
      if (!asksBeforePaste(pasteRisk(text), currentPreferences().terminalPasteWarning, isBracketed)) return;
      event.preventDefault();
      event.stopPropagation();
      setPaste(text);
    };
    // Before xterm.js sees it.
    element.addEventListener("paste", onPaste, true);

    const observer = new ResizeObserver(() => requestAnimationFrame(fit));
    observer.observe(element);
    const onFocus = () => {
      latest.current.onFocus();
      fit();
    }; // another viewer may have changed the size; the focused one decides
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
    parts.current = { terminal, stream, marks, fit };
    latest.current.onHandle({
      focus: () => terminal.focus(),
      type: (text) => {
        if (!ended_.current) type(encoder.encode(text), true);
        terminal.focus();
      },
      fullScreen: () => terminal.buffer.active.type === "alternate",
      find: () => {
        const selected = terminal.getSelection();
        const initial = selected.includes("\n") ? "" : selected;
        setFind((find) => ({ request: (find?.request ?? 0) + 1, initial }));
      },
      jump: (by) => marks.jump(by),
      copyOutput: () => {
        const command = marks.current();
        if (command) void copyText(marks.outputOf(command), "Output");
        else toast("No command has run in this terminal, or its shell does not mark commands.");
      },
      retry: () => stream.retry(),
    });
    return () => {
      latest.current.onHandle(null);
      parts.current = null;
      clearTimeout(silent);
      stopWaking();
      observer.disconnect();
      element.removeEventListener("paste", onPaste, true);
      setSearch(null);
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
    if (shown) requestAnimationFrame(() => parts.current?.fit());
  }, [shown]);

  const status = ended ? (ended.code ?? 128 + (ended.signal ?? 0)) : null;
  const decide = (send: boolean) => {
    parts.current?.stream.resolveHeldInput(send);
    parts.current?.terminal.focus();
  };
  const closeFind = () => {
    setFind(null);
    parts.current?.terminal.focus();
  };
  const pasteNow = (text: string) => {
    // The dialog gives the focus back first.
    requestAnimationFrame(() => {
      parts.current?.terminal.focus();
      parts.current?.terminal.paste(text);
    });
  };
  const pasteFromClipboard = async () => {
    try {
      // Browsers offer this only on https and loopback pages.
      const text = await navigator.clipboard.readText();
      const isBracketed = parts.current?.terminal.modes.bracketedPasteMode ?? false;
      const asks = asksBeforePaste(pasteRisk(text), currentPreferences().terminalPasteWarning, isBracketed);
      if (asks) setPaste(text);
      else if (text !== "") pasteNow(text);
    } catch {
      toast("The browser does not let this page read the clipboard. Press Ctrl+V instead.");
    }
  };
  const openMenu = (event: MouseEvent) => {
    const made = parts.current;
    if (!made || (event.target as Element).closest(".find-panel, .terminal-note")) return;
    event.preventDefault();
    const { terminal, marks } = made;
    // A program that follows the mouse gets this click. With Shift it is the user's.
    if (terminal.modes.mouseTrackingMode !== "none" && !event.shiftKey) return;
    const items = terminalMenu(
      {
        writable: !readOnly,
        hasSelection: terminal.hasSelection(),
        hasOutput: marks.current() !== null,
        canSplit: props.canSplit,
      },
      {
        copy: () => {
          writeClipboard(terminal.getSelection()).catch((error) => toastError(error, "copy"));
        },
        paste: () => void pasteFromClipboard(),
        selectAll: () => terminal.selectAll(),
        find: () => setFind((find) => ({ request: (find?.request ?? 0) + 1, initial: "" })),
        clear: () => {
          terminalsApi
            .clear(workspace, id)
            .catch((error: unknown) => toastError(error, "clear the terminal"));
        },
        copyOutput: () => {
          const command = marks.current();
          if (command) void copyText(marks.outputOf(command), "Output");
        },
        split: props.onSplit,
        rename: props.onRename,
        close: props.onClose,
      },
    );
    setMenu({ x: event.clientX, y: event.clientY, items });
  };
  const plainShellButton = (
    <button className="link-button" onClick={props.onPlainShell}>
      Open a plain shell
    </button>
  );
  return (
    <div
      className={state === "open" || ended ? "terminal" : "terminal dimmed"}
      hidden={!shown}
      role="tabpanel"
      aria-label={props.label}
      data-terminal={id}
      data-state={ended ? "ended" : state}
      onContextMenu={openMenu}
    >
      <div ref={place} className="terminal-place" />
      {find && search && (
        <TerminalFind search={search} request={find.request} initial={find.initial} onClose={closeFind} />
      )}
      {paste !== null && <PasteDialog text={paste} onPaste={pasteNow} onClose={() => setPaste(null)} />}
      {menu && (
        <ContextMenu
          label="Terminal"
          x={menu.x}
          y={menu.y}
          items={menu.items}
          onClose={() => {
            setMenu(null);
            parts.current?.terminal.focus();
          }}
        />
      )}
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

/** How long an answer about a file is used: output is often about files that come and go. */
const REMEMBERED_MS = 5_000;
/** Most answers that are remembered. */
const MAX_REMEMBERED = 200;

/** Asks once for each path in a while. */
function rememberBriefly(ask: (path: string) => Promise<boolean>): (path: string) => Promise<boolean> {
  const known = new Map<string, { at: number; answer: Promise<boolean> }>();
  return (path) => {
    const now = performance.now();
    const before = known.get(path);
    if (before && now - before.at < REMEMBERED_MS) return before.answer;
    const answer = ask(path).catch(() => false);
    known.delete(path);
    known.set(path, { at: now, answer });
    const [oldest] = known.keys();
    if (known.size > MAX_REMEMBERED && oldest !== undefined) known.delete(oldest);
    return answer;
  };
}

/** Opens a link printed by the guest in a tab without access to this one. */
function openLink(url: string): void {
  window.open(url, "_blank", "noopener,noreferrer");
}
