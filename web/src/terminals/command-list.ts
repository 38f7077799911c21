// The commands of a shell in a terminal, from the marks that the shell prints (OSC 133). Pure: lines are what
// keeps its place when the terminal scrolls.

/** A place in the terminal that moves with its text. */
export interface Place {
  readonly line: number;
  dispose: () => void;
}

export interface Command {
  prompt: Place;
  /** Where the output begins. Null: the command was not run. */
  output: Place | null;
  /** Where the output ends. Null: the command runs. */
  end: Place | null;
  /** Column at which the output ends. */
  endColumn: number;
  /** When it was started, in Unix milliseconds. */
  startedAt: number | null;
  /** For how long it ran, in milliseconds. */
  duration: number | null;
  status: number | null;
  /** Working directory when it was started, absolute. */
  directory: string | null;
}

/** Most commands that are kept: each place costs a little with every line of output. */
const MAX_COMMANDS = 300;

export type Mark =
  | { kind: "prompt" }
  | { kind: "input" }
  | { kind: "output"; startedAt: number | null }
  | { kind: "end"; status: number | null; duration: number | null };

/** Reads the payload of an OSC 133. */
export function parseMark(payload: string): Mark | null {
  const [name = "", ...rest] = payload.split(";");
  const facts = new Map(rest.map((part) => part.split("=", 2) as [string, string | undefined]));
  const number = (text: string | undefined) => (text && /^-?\d{1,15}$/.test(text) ? Number(text) : null);
  switch (name) {
    case "A":
      return { kind: "prompt" };
    case "B":
      return { kind: "input" };
    case "C":
      return { kind: "output", startedAt: number(facts.get("start")) };
    case "D":
      return { kind: "end", status: number(rest[0]), duration: number(facts.get("duration")) };
    default:
      return null;
  }
}

export class CommandList {
  private commands: Command[] = [];
  directory: string | null = null;

  /** Called with commands that have changed, and that are gone. */
  constructor(private readonly changed: (command: Command, isGone: boolean) => void) {}

  get all(): readonly Command[] {
    return this.commands;
  }

  /** Applies a mark at a place of the terminal. */
  apply(mark: Mark, at: () => Place | undefined, column: number): void {
    const last = this.commands.at(-1);
    switch (mark.kind) {
      case "prompt": {
        // A prompt that was drawn again, or left without a command.
        if (last && !last.output) this.remove(last);
        const prompt = at();
        if (!prompt) return;
        this.commands.push({
          prompt,
          output: null,
          end: null,
          endColumn: 0,
          startedAt: null,
          duration: null,
          status: null,
          directory: this.directory,
        });
        const first = this.commands[0];
        if (this.commands.length > MAX_COMMANDS && first) this.remove(first);
        return;
      }
      case "input":
        return;
      case "output":
        if (!last || last.output) return;
        last.output = at() ?? null;
        last.startedAt = mark.startedAt;
        last.directory = this.directory;
        return this.changed(last, false);
      case "end":
        if (!last?.output || last.end) return;
        last.end = at() ?? null;
        last.endColumn = column;
        last.status = mark.status;
        last.duration = mark.duration;
        return this.changed(last, false);
    }
  }

  remove(command: Command): void {
    if (!this.commands.includes(command)) return;
    this.commands = this.commands.filter((other) => other !== command);
    command.prompt.dispose();
    command.output?.dispose();
    command.end?.dispose();
    this.changed(command, true);
  }

  clear(): void {
    for (const command of this.commands) this.remove(command);
  }

  /** The command whose prompt is nearest above or below a line. */
  next(line: number, by: 1 | -1): Command | null {
    if (by < 0) return this.commands.findLast(({ prompt }) => prompt.line >= 0 && prompt.line < line) ?? null;
    return this.commands.find(({ prompt }) => prompt.line > line) ?? null;
  }

  /** The working directories before and after the command that printed a line. Empty: they are not known. */
  directoriesAt(line: number): string[] {
    const at = this.commands.findLastIndex(({ prompt }) => prompt.line <= line);
    const directories = [this.commands[at]?.directory, this.commands[at + 1]?.directory ?? this.directory];
    return [...new Set(directories)].filter((directory) => typeof directory === "string");
  }

  /** The last command that has run. */
  lastRun(): Command | null {
    return this.commands.findLast(({ output }) => output !== null) ?? null;
  }
}

/** The path in the payload of an OSC 7: `file://host/path`. */
export function parseDirectory(payload: string): string | null {
  const path = /^file:\/\/[^/]*(\/.*)$/.exec(payload)?.[1];
  if (path === undefined) return null;
  try {
    return decodeURIComponent(path);
  } catch {
    return null;
  }
}

/** What a command's mark says. */
export function describeCommand({ end, status, duration, startedAt }: Command): string {
  const began = startedAt === null ? "" : `, started ${new Date(startedAt).toLocaleTimeString()}`;
  if (!end) return `Running${began}`;
  const result = status === null ? "Ended" : status === 0 ? "Succeeded" : `Exit status ${status}`;
  return `${result}${duration === null ? "" : ` after ${durationText(duration)}`}${began}`;
}

export function durationText(milliseconds: number): string {
  if (milliseconds < 1000) return `${milliseconds} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
