// Uploads files to the home, with progress.
import { filesApi } from "../api/endpoints";
import { ApiError, problemOfProxy } from "../api/client";
import type { Problem } from "../api/types";
import { childOf } from "./paths";

/** The agent's limit. */
export const MAX_UPLOAD_BYTES = 1024 * 1024 * 1024;
/** More files in one drop are more likely a mistake than intended. */
export const MAX_UPLOAD_FILES = 1000;

export interface Upload {
  /** Relative to the directory that it was dropped on. */
  path: string;
  file: File;
}

/** All files of a drop, including those in dropped folders. */
export async function filesOfDrop(transfer: DataTransfer): Promise<Upload[]> {
  const uploads: Upload[] = [];
  // The browser empties the list when the event ends, so it is read completely before the first await.
  const roots = [...transfer.items]
    .filter((item) => item.kind === "file")
    .map((item) => ({ entry: item.webkitGetAsEntry(), file: item.getAsFile() }));
  for (const { entry, file } of roots) {
    if (entry?.isDirectory) await collectDirectory(entry as FileSystemDirectoryEntry, "", uploads);
    else if (file) uploads.push({ path: file.name, file });
  }
  return uploads;
}

async function collectDirectory(
  directory: FileSystemDirectoryEntry,
  above: string,
  uploads: Upload[],
): Promise<void> {
  const path = childOf(above, directory.name);
  const reader = directory.createReader();
  for (;;) {
    // readEntries returns batches; an empty batch is the end.
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) =>
      reader.readEntries(resolve, reject),
    );
    if (entries.length === 0) return;
    for (const entry of entries) {
      if (uploads.length > MAX_UPLOAD_FILES) throw new Error(`At most ${MAX_UPLOAD_FILES} files at once.`);
      if (entry.isDirectory) await collectDirectory(entry as FileSystemDirectoryEntry, path, uploads);
      else {
        const file = await new Promise<File>((resolve, reject) =>
          (entry as FileSystemFileEntry).file(resolve, reject),
        );
        uploads.push({ path: childOf(path, file.name), file });
      }
    }
  }
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
