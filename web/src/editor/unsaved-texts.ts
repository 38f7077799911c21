// Text that was typed and is not in its file, kept in the browser (IndexedDB). It outlives the
// workbench, a reload, and the end of the workspace.
import type { UnsavedText, UnsavedTextSlot } from "../streams/unsaved-text";

export interface UnsavedFile extends UnsavedText {
  user: string;
  workspace: string;
  path: string;
}

const DATABASE = "burrow";
const STORE = "unsaved-texts";
const MAX_AGE_MS = 30 * 24 * 60 * 60 * 1000;

const listeners = new Set<() => void>();

/** Calls `listener` when a text was added or deleted. Returns a function that ends this. */
export function onUnsavedChange(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function reportUnsavedChange(): void {
  for (const listener of listeners) listener();
}

export function unsavedTextSlot(user: string, workspace: string, path: string): UnsavedTextSlot {
  const key = [user, workspace, path];
  return {
    read: async () =>
      (await run("readonly", (store) => store.get(key) as IDBRequest<UnsavedFile | undefined>)) ?? null,
    write: async (unsaved) => {
      await run("readwrite", (store) => store.put({ ...unsaved, user, workspace, path }, key));
      reportUnsavedChange();
    },
    delete: async () => {
      await run("readwrite", (store) => store.delete(key));
      reportUnsavedChange();
    },
  };
}

/** The unsaved texts of a user in a workspace. Deletes those that nobody has come back to. */
export async function listUnsavedFiles(user: string, workspace: string): Promise<UnsavedFile[]> {
  const now = Date.now();
  const range = IDBKeyRange.bound([user, workspace], [user, workspace, []]);
  const files = (await run("readonly", (store) => store.getAll(range) as IDBRequest<UnsavedFile[]>)) ?? [];
  const old = files.filter((file) => now - file.at > MAX_AGE_MS);
  await Promise.all(old.map((file) => unsavedTextSlot(user, workspace, file.path).delete()));
  return files.filter((file) => !old.includes(file));
}

/** Runs one request. Null if the browser refuses storage, as in some private windows. */
async function run<T>(
  mode: IDBTransactionMode,
  request: (store: IDBObjectStore) => IDBRequest<T>,
): Promise<T | null> {
  try {
    const database = await openDatabase();
    try {
      const store = database.transaction(STORE, mode).objectStore(STORE);
      return await settled(request(store));
    } finally {
      database.close();
    }
  } catch (error) {
    console.warn("cannot use the browser's storage for unsaved text", error);
    return null;
  }
}

function openDatabase(): Promise<IDBDatabase> {
  const request = indexedDB.open(DATABASE, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE);
  return settled(request);
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("the request failed"));
  });
}
