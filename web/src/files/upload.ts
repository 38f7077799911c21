// What the browser does for an upload: reads dropped files and folders, and sends one file with progress.
import { filesApi } from "../api/endpoints";
import { ApiError, errorMessage, problemOfProxy } from "../api/client";
import type { Problem } from "../api/types";
import { childOf } from "./paths";
import type { Upload, UploadFailure, UploadPlan } from "./upload-run";

/** Folders that cannot be read in this time are reported. Some drops never answer. */
const READ_TIMEOUT_MS = 60_000;

/** The files and folders of a drop. */
export async function readDrop(transfer: DataTransfer): Promise<UploadPlan> {
  // The browser empties the list when the event ends, so it is read completely before the first await.
  const roots = [...transfer.items]
    .filter((item) => item.kind === "file")
    .map((item) => ({ entry: item.webkitGetAsEntry(), file: item.getAsFile() }));
  return readEntries(roots);
}

/** A dropped file or folder. Without an entry (a pasted image), there is only the file. */
export interface DroppedItem {
  entry: FileSystemEntry | null;
  file: File | null;
}

/** Reads folders to the bottom. What the browser cannot read is listed, and the rest is kept. */
export async function readEntries(roots: readonly DroppedItem[]): Promise<UploadPlan> {
  const plan = {
    directories: [] as string[],
    files: [] as Upload[],
    unreadable: [] as UploadFailure[],
  };
  const waiting: { entry: FileSystemEntry; path: string }[] = [];
  for (const { entry, file } of roots) {
    if (entry?.isDirectory) waiting.push({ entry, path: entry.name });
    else if (file) plan.files.push({ path: file.name, file });
  }
  for (let item = waiting.pop(); item; item = waiting.pop()) {
    const { entry, path } = item;
    try {
      if (entry.isDirectory) {
        plan.directories.push(path);
        for (const child of await childrenOf(entry as FileSystemDirectoryEntry)) {
          waiting.push({ entry: child, path: childOf(path, child.name) });
        }
      } else {
        const file = await inTime<File>((resolve, reject) =>
          (entry as FileSystemFileEntry).file(resolve, reject),
        );
        plan.files.push({ path, file });
      }
    } catch (error) {
      plan.unreadable.push({ path, reason: `The browser cannot read it: ${errorMessage(error)}` });
    }
  }
  return plan;
}

async function childrenOf(directory: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = directory.createReader();
  const children: FileSystemEntry[] = [];
  for (;;) {
    // readEntries returns batches; an empty batch is the end.
    const batch = await inTime<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (batch.length === 0) return children;
    children.push(...batch);
  }
}

function inTime<T>(start: (resolve: (value: T) => void, reject: (error: Error) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("it does not answer")), READ_TIMEOUT_MS);
    const done = () => clearTimeout(timer);
    start(
      (value) => (done(), resolve(value)),
      (error) => (done(), reject(error)),
    );
  });
}

/**
 * Uploads one file. Without `overwrite`, an existing file is kept and the error has the code
 * `precondition_failed`.
 */
export function uploadFile(
  workspace: string,
  path: string,
  file: File,
  overwrite: boolean,
  onProgress: (sent: number) => void,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    // fetch does not report upload progress.
    const request = new XMLHttpRequest();
    request.open("PUT", filesApi.contentUrl(workspace, path));
    request.setRequestHeader("content-type", "application/octet-stream");
    if (!overwrite) request.setRequestHeader("if-none-match", "*");
    request.upload.onprogress = (event) => onProgress(event.loaded);
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) resolve();
      else reject(new ApiError(problemOf(request), request.status));
    };
    request.onerror = () =>
      reject(new ApiError({ code: "unreachable", detail: "The connection was lost." }, 0));
    request.onabort = () => reject(new DOMException("aborted", "AbortError"));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(file);
  });
}

function problemOf(request: XMLHttpRequest): Partial<Problem> {
  const requestId = request.getResponseHeader("x-request-id") ?? "";
  try {
    return { request_id: requestId, ...(JSON.parse(request.responseText) as Partial<Problem>) };
  } catch {
    return { ...problemOfProxy(request.status), request_id: requestId };
  }
}
