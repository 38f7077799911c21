// Compares screens that the model in `screen/` has drawn with xterm.js itself, which was never left.
//
// Each line of standard input is a case: { cols, rows, steps, drawing, tail, replies }. A step is the
// hexadecimal text of output, or [cols, rows]. `drawing` is what the model has drawn after the steps, and
// `replies` what it has answered to them. Two terminals are compared after it: one that has seen the steps,
// and a fresh one that has seen the drawing; then both again after `tail`, more steps. For each case a line
// is printed: "ok", "odd" if something differs that no drawing can make, "skipped" if xterm.js itself fails
// on the output, or what differs.
import { createInterface } from "node:readline";
import unicode from "@xterm/addon-unicode11";
import headless from "@xterm/headless";

const SCROLLBACK_LINES = 10_000;

function open(cols, rows) {
  const terminal = new headless.Terminal({
    cols,
    rows,
    scrollback: SCROLLBACK_LINES,
    allowProposedApi: true,
    logLevel: "off",
  });
  terminal.loadAddon(new unicode.Unicode11Addon());
  terminal.unicode.activeVersion = "11";
  const replies = [];
  terminal.onData((data) => replies.push(data));
  const colors = new Map();
  terminal._core._inputHandler.onColor((events) => {
    for (const { type, index, color } of events) {
      // 0 report, 1 set, 2 restore
      if (type === 1) colors.set(index, color.join());
      else if (type === 2 && index === undefined) for (let at = 0; at < 256; at++) colors.delete(at);
      else if (type === 2) colors.delete(index);
    }
  });
  let title = "";
  terminal.onTitleChange((text) => (title = text));
  return { terminal, replies, colors, title: () => title };
}

function run(side, steps) {
  const { terminal } = side;
  for (const step of steps) {
    if (typeof step === "string") terminal._core.writeSync(Buffer.from(step, "hex"));
    else terminal.resize(step[0], step[1]);
    // After the window became shorter, xterm.js keeps lines above the alternate screen.
    const { alt } = terminal._core._bufferService.buffers;
    if (alt.lines.length > 0 && alt.ybase > 0) side.hasAlternateLines = true;
  }
}

const ODD = "odd";
/** xterm.js forgets an open link when its row is erased. The model does not. */
const FORGOTTEN = "forgotten link";

const MODE = 0x3000000;
/** A colour without the bits that its mode does not use. */
function color(value) {
  const mode = value & MODE;
  if (mode === 0) return 0;
  return mode | (value & (mode === MODE ? 0xffffff : 0xff));
}

function attributes(core, fg, bg, extended) {
  const has = (bg & 0x10000000) !== 0 && !extended.isEmpty();
  const link = has ? core._oscLinkService.getLinkData(extended.urlId) : undefined;
  const raw = has ? (extended._ext & 0x1c000000) >>> 26 : 0;
  // An underline is shown in the style of the extended attributes, if there are any.
  const isUnderlined = (fg & 0x10000000) !== 0 && (raw !== 0 || link !== undefined || !has);
  return [
    color(fg).toString(16),
    ((fg & 0xec000000) >>> 0).toString(16),
    color(bg).toString(16),
    ((bg & 0x6c000000) >>> 0).toString(16),
    isUnderlined && raw !== 0 ? raw : 0,
    isUnderlined && raw !== 0 ? color(extended._ext & 0x3ffffff) : 0,
    link ? `${link.id ?? ""}|${link.uri}` : has && extended.urlId !== 0 ? FORGOTTEN : "",
  ].join(",");
}

/**
 * Halves of wide characters without the other half, and marks without a character: a narrowed window and
 * mistakes of xterm.js leave them, and no output makes them again. They are restored as blanks.
 */
let odd = 0;

function isOdd(line, x, cols) {
  const width = line.getWidth(x);
  const isSpacer = (at) => at < cols && line.getWidth(at) === 0 && !line.hasContent(at);
  if (width === 2) return !isSpacer(x + 1) || wcwidth(line, x) !== 2;
  if (isSpacer(x)) return x === 0 || line.getWidth(x - 1) !== 2 || wcwidth(line, x - 1) !== 2;
  return width === 1 && line.getString(x) !== "" && wcwidth(line, x) !== 1;
}

let widths;
function wcwidth(line, x) {
  widths ??= new headless.Terminal({ allowProposedApi: true });
  if (widths.unicode.activeVersion !== "11") {
    widths.loadAddon(new unicode.Unicode11Addon());
    widths.unicode.activeVersion = "11";
  }
  return widths._core.unicodeService.wcwidth(line.getString(x).codePointAt(0));
}

function rowState(core, line, cols) {
  const cells = [];
  for (let x = 0; x < Math.min(cols, line.length); x++) {
    const bg = line.getBg(x);
    const extended = bg & 0x10000000 ? line._extendedAttrs[x] : { isEmpty: () => true };
    if (isOdd(line, x, Math.min(cols, line.length))) {
      odd++;
      cells.push(ODD);
      continue;
    }
    // The second half of a wide character is drawn with the first.
    if (x > 0 && line.getWidth(x) === 0 && !line.hasContent(x)) {
      cells.push("second half");
      continue;
    }
    cells.push(`${line.getString(x)}/${line.getWidth(x)}/${attributes(core, line.getFg(x), bg, extended)}`);
  }
  return cells;
}

function bufferState(core, buffer, cols) {
  const lines = [];
  const first = buffer.hasScrollback ? 0 : buffer.ybase;
  for (let at = first; at < buffer.lines.length; at++) {
    const line = buffer.lines.get(at);
    lines.push({
      cells: rowState(core, line, cols),
      wrapped: (at > 0 || !buffer.hasScrollback) && line.isWrapped,
    });
  }
  const tabs = Object.keys(buffer.tabs).filter((column) => buffer.tabs[column] && column < cols);
  return { lines, tabs: tabs.join(), region: `${buffer.scrollTop}-${buffer.scrollBottom}` };
}

const charsetName = (set) => (set ? JSON.stringify(set) : "ASCII");

function state(side) {
  const core = side.terminal._core;
  const { cols, rows, buffers } = core._bufferService;
  const active = buffers.active;
  const modes = core.coreService;
  const pen = core._inputHandler._curAttrData;
  const charsets = core._charsetService;
  const result = {
    size: `${cols}x${rows}`,
    screen: active === buffers.alt ? "alternate" : "primary",
    primary: bufferState(core, buffers.normal, cols),
    cursor: `${active.x},${active.y}`,
    modes: JSON.stringify({ ...modes.modes, ...modes.decPrivateModes }),
    mouse: `${core.coreMouseService.activeProtocol} ${core.coreMouseService.activeEncoding}`,
    hidden: modes.isCursorHidden,
    options: `${core.optionsService.rawOptions.cursorBlink} ${core.optionsService.rawOptions.convertEol}`,
    pen: attributes(core, pen.fg, pen.bg, pen.extended),
    // language: allow
    charset: `${charsets.glevel} ${charsetName(charsets.charset)} ${[0, 1, 2, 3].map((level) => charsetName(charsets._charsets[level])).join()}`,
    join:
      core._inputHandler._parser.currentState === 0
        ? core._inputHandler._parser.precedingJoinState >> 1
        : 0,
    title: side.title(),
    colors: [...side.colors].sort().join(" "),
  };
  if (active === buffers.alt) result.alternate = bufferState(core, buffers.alt, cols);
  return result;
}

/** The first difference of two values. */
function difference(a, b, path = "") {
  if (typeof a === "object" && a !== null && typeof b === "object" && b !== null) {
    for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
      const found = difference(a[key], b[key], `${path}.${key}`);
      if (found) return found;
    }
    return "";
  }
  if (typeof a === "string" && typeof b === "string" && a !== b && (a + b).includes(FORGOTTEN)) {
    return difference(a.slice(0, a.lastIndexOf(",")), b.slice(0, b.lastIndexOf(",")), path);
  }
  if (typeof a === "string" && typeof b === "string" && a.startsWith("/1/") && b === ` ${a}`) {
    // A blank with a style in the last column is restored as a space, which looks the same.
    odd++;
    return "";
  }
  return a === b || a === ODD
    ? ""
    : `${path}: ${JSON.stringify(a)} in xterm.js, ${JSON.stringify(b)} restored`;
}

/** Whether xterm.js has lost lines: its list is longer than what it holds after some resizes. */
function isBroken({ terminal }) {
  const { normal, alt } = terminal._core._bufferService.buffers;
  const hasAllLines = ({ lines }) => {
    for (let at = 0; at < lines.length; at++) if (!lines.get(at)) return false;
    return true;
  };
  return !hasAllLines(normal) || !hasAllLines(alt);
}

function compare(test) {
  const left = open(test.cols, test.rows);
  try {
    run(left, test.steps);
  } catch {
    return "skipped";
  }
  if (isBroken(left)) return "skipped";
  const last = test.steps.filter((step) => typeof step !== "string").at(-1);
  const restored = open(last?.[0] ?? test.cols, last?.[1] ?? test.rows);
  const asked = left.replies.join("");
  if (asked !== Buffer.from(test.replies, "hex").toString()) {
    return `replies: ${JSON.stringify(asked)} of xterm.js, ${JSON.stringify(Buffer.from(test.replies, "hex").toString())} of the model`; // language: allow
  }
  run(restored, [test.drawing]);
  odd = 0;
  const before = state(left);
  const { buffer, buffers, cols, rows } = left.terminal._core._bufferService;
  // A cursor that waits to wrap after a last cell that was made blank; an alternate screen that was opened
  // after the window became shorter, which has lines above it in xterm.js.
  const row = buffer.lines.get(buffer.ybase + buffer.y);
  if (buffer.x >= cols && !row.hasContent(cols - 1) && row.getWidth(cols - 1) > 0) odd++;
  if (left.hasAlternateLines || (buffer === buffers.alt && buffer.lines.maxLength > rows)) odd++;
  // A cursor that was restored on the other screen, with another character set.
  const charsets = left.terminal._core._charsetService;
  if (charsets.charset !== charsets._charsets[charsets.glevel] && charsets.charset !== buffer.savedCharset)
    return "odd";
  // A mark behind the last column.
  if (buffer.x > cols) odd++;
  // Its rows keep what a narrowed window has cut.
  for (let y = 0; y < buffers.alt.lines.length; y++) if (buffers.alt.lines.get(y).length > cols) odd++;
  // Without the wraparound mode, a mark joins a character that was not printed.
  if (!left.terminal._core.coreService.decPrivateModes.wraparound && buffer.x >= cols - 1) odd++;
  // After a resize, a mark joins another character than the one that was printed last.
  if (before.join > 0 && Array.isArray(test.steps.findLast((step) => step.length > 0))) odd++;
  if (odd > 0) before.cursor = before.join = ODD;
  const hasOdd = odd > 0;
  if (left.hasAlternateLines) return "odd";
  const first = difference(before, state(restored));
  if (first) return `restored${first}`;
  if (hasOdd) return "odd";
  // A cursor that was saved on the alternate screen, which is not shown.
  const { savedX, savedY, savedCurAttrData: saved } = buffers.alt;
  if (buffer !== buffers.alt && (savedX || savedY || saved.fg || saved.bg || buffers.alt.savedCharset))
    return "odd";

  try {
    run(left, test.tail);
  } catch {
    return "skipped";
  }
  if (isBroken(left)) return "skipped";
  run(restored, test.tail);
  const later = difference(state(left), state(restored));
  return later ? `continued${later}` : "ok";
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(compare(JSON.parse(line)));
}
