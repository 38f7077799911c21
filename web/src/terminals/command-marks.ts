// Marks of the shell's commands beside the text of a terminal: whether each has succeeded, and for how long
// it ran. Jumps between prompts and reads the output of commands.
import type { IDecoration, IMarker, Terminal } from "@xterm/xterm";
import { CommandList, describeCommand, parseDirectory, parseMark, type Command } from "./command-list";

export class CommandMarks {
  readonly list: CommandList;
  private readonly decorations = new Map<Command, IDecoration>();
  /** The prompt that was jumped to, until something is typed. */
  private chosen: Command | null = null;
  private highlight: IDecoration | undefined;

  /** `onMenu`: the user opens the menu of a command. */
  constructor(
    private readonly terminal: Terminal,
    private readonly onMenu: (command: Command, event: MouseEvent) => void,
  ) {
    this.list = new CommandList((command, isGone) => this.draw(command, isGone));
    terminal.parser.registerOscHandler(133, (payload) => {
      this.apply(payload);
      return true;
    });
    terminal.parser.registerOscHandler(7, (payload) => {
      this.list.directory = parseDirectory(payload) ?? this.list.directory;
      return true;
    });
    // A reset empties the screen, also before it is drawn again. xterm.js resets it then.
    terminal.parser.registerEscHandler({ final: "c" }, () => {
      this.list.clear();
      return false;
    });
    terminal.onData(() => this.choose(null));
  }

  private apply(payload: string): void {
    const mark = parseMark(payload);
    const { active } = this.terminal.buffer;
    // Full-screen programs have no prompts.
    if (!mark || active.type === "alternate") return;
    this.list.apply(mark, () => this.place(), active.cursorX);
  }

  private place(): IMarker | undefined {
    const marker = this.terminal.registerMarker(0);
    // A line that was removed takes its command with it.
    marker?.onDispose(() => {
      const gone = this.list.all.find(({ prompt }) => prompt === marker);
      if (gone) this.list.remove(gone);
    });
    return marker;
  }

  private draw(command: Command, isGone: boolean): void {
    if (isGone) {
      this.decorations.get(command)?.dispose();
      this.decorations.delete(command);
      if (this.chosen === command) this.choose(null);
      return;
    }
    const shown = this.decorations.get(command) ?? this.decorate(command);
    if (shown?.element) label(shown.element, command);
  }

  private decorate(command: Command): IDecoration | undefined {
    const marker = command.prompt as IMarker;
    const decoration = this.terminal.registerDecoration({ marker, x: 0, width: 1 });
    if (!decoration) return undefined;
    this.decorations.set(command, decoration);
    decoration.onRender((element) => {
      if (element.classList.contains("command-mark")) return;
      element.classList.add("command-mark");
      label(element, command);
      element.addEventListener("mousedown", (event) => event.stopPropagation());
      element.addEventListener("click", (event) => this.onMenu(command, event));
    });
    return decoration;
  }

  /** Scrolls to the prompt before or after the one that was jumped to, at first before the cursor's. */
  jump(by: 1 | -1): void {
    const { active } = this.terminal.buffer;
    const from = this.chosen?.prompt.line ?? active.baseY + active.cursorY;
    const next = this.list.next(from, by);
    if (next) {
      this.choose(next);
      const isShown =
        next.prompt.line >= active.viewportY && next.prompt.line < active.viewportY + this.terminal.rows;
      if (!isShown) this.terminal.scrollToLine(next.prompt.line);
    } else if (by > 0) {
      this.choose(null);
      this.terminal.scrollToBottom();
    }
  }

  private choose(command: Command | null): void {
    if (command === this.chosen) return;
    this.chosen = command;
    this.highlight?.dispose();
    this.highlight = undefined;
    if (!command) return;
    this.highlight = this.terminal.registerDecoration({
      marker: command.prompt as IMarker,
      x: 0,
      width: this.terminal.cols,
    });
    this.highlight?.onRender((element) => element.classList.add("command-chosen"));
  }

  /** The command that was jumped to, or the last one that has run. */
  current(): Command | null {
    return this.chosen?.output ? this.chosen : this.list.lastRun();
  }

  /** What a command has printed. */
  outputOf({ output, end, endColumn }: Command): string {
    if (!output) return "";
    const { normal } = this.terminal.buffer;
    const cursor = { line: normal.baseY + normal.cursorY, column: normal.cursorX };
    const last = end && end.line >= 0 ? { line: end.line, column: endColumn } : cursor;
    let text = "";
    for (let y = Math.max(0, output.line); y <= last.line; y++) {
      const line = normal.getLine(y);
      if (!line) break;
      // Blanks at the end of a row that goes on belong to the text.
      const goesOn = normal.getLine(y + 1)?.isWrapped === true;
      if (y > output.line && !line.isWrapped) text += "\n";
      text += line.translateToString(!goesOn, 0, y === last.line ? last.column : undefined);
    }
    return text.replace(/\n+$/, "");
  }
}

/** Shows how a command has ended. */
function label(element: HTMLElement, command: Command): void {
  const state = !command.end ? "running" : command.status === 0 || command.status === null ? "ok" : "failed";
  element.dataset["state"] = state;
  element.title = describeCommand(command);
}
