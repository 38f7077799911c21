// Runs an upload of any number of files and folders: folders first, then files, some at a time. The
// result is one summary. Knows no browser: what sends and asks is passed in.
import { ApiError, errorMessage } from "../api/client";
import { formatBytes } from "../ui/format";
import { childOf, parentOf } from "./paths";

/** The agent's limit. */
export const MAX_UPLOAD_BYTES = 1024 * 1024 * 1024;
/** Files that are sent at the same time. More would not be faster over one connection. */
const MAX_PARALLEL = 4;
/** After one of these errors the rest would fail in the same way. */
const FATAL_CODES: readonly string[] = [
  "unreachable",
  "unauthenticated",
  "not_running",
  "disk_full",
  "unavailable",
];

export interface Upload<F extends { size: number } = File> {
  /** Relative to the folder that it was dropped on. */
  path: string;
  file: F;
}

/** What is to be uploaded. Paths are relative to the folder that it was dropped on. */
export interface UploadPlan<F extends { size: number } = File> {
  /** Every folder, empty ones included. */
  directories: readonly string[];
  files: readonly Upload<F>[];
  /** What the browser could not read. */
  unreadable: readonly UploadFailure[];
}

export interface UploadFailure {
  path: string;
  reason: string;
}

export interface UploadSummary {
  files: number;
  directories: number;
  /** Files that exist, and that the user chose to keep. */
  skipped: number;
  failures: readonly UploadFailure[];
  /** Files that were not tried, because the user cancelled or everything would have failed. */
  untried: number;
}

export interface UploadProgress {
  /** The file that was begun last. */
  path: string;
  sentBytes: number;
  totalBytes: number;
  /** Files that are not done. */
  left: number;
}

export type ReplaceAnswer = "replace" | "replace-all" | "skip" | "cancel";

export interface UploadEnvironment<F extends { size: number } = File> {
  /** Creates a folder with its missing parents. A folder that exists is an error of code `conflict`. */
  createDirectory(path: string): Promise<unknown>;
  /** Fails if the path is not a folder. */
  checkDirectory(path: string): Promise<unknown>;
  /** Without `overwrite`, an existing file is an error of code `precondition_failed`. */
  send(path: string, file: F, overwrite: boolean, onProgress: (sent: number) => void): Promise<void>;
  /** Asks whether a file is replaced. Called once at a time. */
  ask(path: string): Promise<ReplaceAnswer>;
  onProgress(progress: UploadProgress): void;
}

/** The folders that have to be created so that all others and every file's parent exist. */
export function directoriesToCreate(
  plan: Pick<UploadPlan<{ size: number }>, "directories" | "files">,
): string[] {
  const all = new Set(plan.directories);
  for (const { path } of plan.files) if (parentOf(path)) all.add(parentOf(path));
  const parents = new Set<string>();
  for (const path of all) {
    for (let above = parentOf(path); above && !parents.has(above); above = parentOf(above))
      parents.add(above);
  }
  return [...all].filter((path) => !parents.has(path)).sort();
}

async function ensureDirectory(
  path: string,
  environment: Pick<UploadEnvironment, "createDirectory" | "checkDirectory">,
): Promise<void> {
  try {
    await environment.createDirectory(path);
  } catch (error) {
    if (!(error instanceof ApiError) || error.code !== "conflict") throw error;
    await environment.checkDirectory(path);
  }
}

/** Uploads everything below `directory`. Never rejects; what failed is in the summary. */
export async function runUpload<F extends { size: number }>(
  plan: UploadPlan<F>,
  directory: string,
  environment: UploadEnvironment<F>,
  signal: AbortSignal,
): Promise<UploadSummary> {
  const failures: UploadFailure[] = [...plan.unreadable];
  const totalBytes = plan.files.reduce((sum, { file }) => sum + file.size, 0);
  let isStopped = false;
  let [files, skipped, doneBytes, next] = [0, 0, 0, 0];
  let answer: ReplaceAnswer | null = null;
  let question: Promise<void> = Promise.resolve();

  const fail = (path: string, error: unknown) => {
    if (signal.aborted) return;
    failures.push({ path, reason: errorMessage(error) });
    isStopped ||= error instanceof ApiError && FATAL_CODES.includes(error.code);
  };
  /** Asks one question at a time; "replace all" and "cancel" answer the later ones too. */
  const askOnce = (path: string): Promise<ReplaceAnswer> => {
    const asked = question.then(async () => {
      if (answer) return answer;
      const given = await environment.ask(path);
      if (given === "replace-all" || given === "cancel") answer = given;
      return given;
    });
    question = asked.then(
      () => undefined,
      () => undefined,
    );
    return asked;
  };
  const sendOne = async ({ path, file }: Upload<F>): Promise<boolean> => {
    if (file.size > MAX_UPLOAD_BYTES) {
      throw new Error(`It is ${formatBytes(file.size)}. The limit is ${formatBytes(MAX_UPLOAD_BYTES)}.`);
    }
    const to = childOf(directory, path);
    let sent = 0;
    const onProgress = (now: number) => {
      doneBytes += Math.min(now, file.size) - sent;
      sent = Math.min(now, file.size);
      environment.onProgress({ path, sentBytes: doneBytes, totalBytes, left: plan.files.length - files });
    };
    onProgress(0);
    try {
      await environment.send(to, file, answer === "replace-all", onProgress);
      return true;
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== "precondition_failed") throw error;
      const given = await askOnce(path);
      if (given === "cancel") isStopped = true;
      if (given === "skip") skipped += 1;
      if (given === "cancel" || given === "skip") return false;
      await environment.send(to, file, true, onProgress);
      return true;
    } finally {
      onProgress(file.size);
    }
  };

  const missing = new Set<string>();
  for (const path of directoriesToCreate(plan)) {
    if (signal.aborted || isStopped) {
      missing.add(path);
      continue;
    }
    try {
      await ensureDirectory(childOf(directory, path), environment);
    } catch (error) {
      missing.add(path);
      fail(path, error);
    }
  }
  const directories = plan.directories.filter((path) => !missing.has(path)).length;
  let tried = 0;
  const work = async () => {
    while (next < plan.files.length && !signal.aborted && !isStopped) {
      const upload = plan.files[next++] as Upload<F>;
      tried += 1;
      try {
        if (await sendOne(upload)) files += 1;
      } catch (error) {
        fail(upload.path, error);
      }
    }
  };
  await Promise.all(Array.from({ length: MAX_PARALLEL }, work));
  return { files, directories, skipped, failures, untried: plan.files.length - tried };
}

const count = (number: number, one: string, many: string) => `${number} ${number === 1 ? one : many}`;

/** The summary in one or two sentences. */
export function summaryText({ files, directories, skipped, failures, untried }: UploadSummary): string {
  const uploaded = [
    files > 0 || directories === 0 ? count(files, "file", "files") : "",
    directories > 0 ? count(directories, "folder", "folders") : "",
  ].filter(Boolean);
  const rest = [
    skipped > 0 ? `${skipped} skipped` : "",
    failures.length > 0 ? `${failures.length} failed` : "",
    untried > 0 ? `${untried} not tried` : "",
  ].filter(Boolean);
  return [`${uploaded.join(" and ")} uploaded`, ...rest].join(", ");
}
