// One file of the past, written into the running home. What is there now is kept beside it first.
import { files, snapshots } from "../api/calls";
import { ApiError } from "../api/client";
import { childOf, nameOf, parentOf } from "../workspace/paths";

/** Longest name of a file, in bytes, as in Linux. */
const NAME_BYTES_MAX = 255;

/** `main.rs` → `main.rs.before-restore-20250312-140322`, in the same directory. */
export function keptName(path: string, now: Date): string {
  const two = (number: number) => String(number).padStart(2, "0");
  const day = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`;
  const time = `${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`;
  const ending = `.before-restore-${day}-${time}`;
  const letters = [...nameOf(path)];
  const bytes = (text: string) => new TextEncoder().encode(text).length;
  while (bytes(letters.join("")) + ending.length > NAME_BYTES_MAX) letters.pop();
  return childOf(parentOf(path), letters.join("") + ending);
}

/** Returns where what was there is kept; none where nothing was. */
export async function restoreFile(
  workspace: string,
  snapshot: string,
  path: string,
  now: Date,
): Promise<string | null> {
  const [content, present] = await Promise.all([
    snapshots.content(workspace, snapshot, path).then((response) => response.blob()),
    presentOf(workspace, path),
  ]);
  if (!present) {
    await makeParents(workspace, parentOf(path));
    await files.write(workspace, path, content, null);
    return null;
  }
  const kept = keptName(path, now);
  await files.write(workspace, kept, present.content, null);
  // Only in the place of what was kept: an edit that came meanwhile refuses it.
  await files.write(workspace, path, content, present.etag);
  return kept;
}

async function presentOf(
  workspace: string,
  path: string,
): Promise<{ content: Blob; etag: string | null } | null> {
  try {
    const response = await files.content(workspace, path);
    return { content: await response.blob(), etag: response.headers.get("etag") };
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}

async function makeParents(workspace: string, directory: string): Promise<void> {
  if (!directory) return;
  try {
    await files.makeDirectory(workspace, directory, true);
  } catch (error) {
    // There already. If it is no directory, the write says so.
    if (!(error instanceof ApiError) || error.code !== "conflict") throw error;
  }
}
