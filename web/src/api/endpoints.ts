// The API's endpoints as typed functions, grouped by the API's tags. Pages call these and never build a URL.
import { ApiError, fetchResponse, request } from "./client";
import type {
  AppliedEdits,
  ApplyAction,
  BlamedLine,
  EditedDocument,
  Entry,
  FileDiff,
  FoundFiles,
  GitEvent,
  GitOperation,
  GitStatus,
  History as GitHistory,
  LanguageAnswer,
  LanguageQuery,
  LineEdit,
  Listing,
  References,
  RenameSymbol,
  Repositories,
  SearchEvent,
  NewTerminal,
  TerminalInfo,
  TerminalList,
} from "./agent";
import { serverEvents, textOf } from "./server-events";
import type {
  AuditPage,
  AuditVerification,
  Budget,
  EditBudget,
  Changes,
  ScrubReport,
  Settings,
  Class,
  ClassAction,
  ClassNetwork,
  ClassSummary,
  CreatedUser,
  DeviceInfo,
  Fork,
  Invitation,
  InvitationLink,
  NetworkPolicy,
  NewRestore,
  SnapshotDirectory,
  EditPort,
  PortSettings,
  PortSettingsList,
  PreviewTicket,
  Retention,
  Role,
  RosterResult,
  Session,
  Snapshot,
  SnapshotList,
  Template,
  TenantKeyState,
  TokenInfo,
  TokenScope,
  TokenSecret,
  UndoneRestore,
  UsageReport,
  User,
  UserLink,
  Workspace,
  WorkspaceNetwork,
} from "./types";

/** The agent gives up earlier. */
const GIT_TIMEOUT_MS = 70_000;
const GIT_RUN_TIMEOUT_MS = 2 * 3600_000;

const post = <T>(path: string, json?: unknown) => request<T>(path, { method: "POST", json: json ?? {} });
const remove = (path: string) => request<void>(path, { method: "DELETE" });

export const authApi = {
  getSession: () => request<Session>("/auth/session"),
  signInWithLink: (token: string) => keepSession(post<Session>("/auth/link", { token })),
  signInWithPassword: (email: string, password: string) =>
    keepSession(post<Session>("/auth/login", { email, password })),
  signOut: () => post<void>("/auth/logout"),
  confirmPassword: (password: string) => post<void>("/auth/confirm", { password }),
  setPassword: (next: string, current?: string) =>
    post<void>("/auth/password", { new: next, current: current || null }),
  updateCurrentUser: (change: { name?: string; email?: string }) =>
    request<User>("/users/me", { method: "PATCH", json: change }),
  getDeviceLogin: (code: string) => request<DeviceInfo>(`/auth/device/${encodeURIComponent(code)}`),
  decideDeviceLogin: (code: string, approve: boolean) =>
    post<void>("/auth/device/approve", { user_code: code, approve }),
  previewInvitation: (token: string) => post<Invitation>("/invitations/view", { token }),
  acceptInvitation: (token: string, name: string, password: string) =>
    keepSession(post<Session>("/invitations/accept", { token, name, password })),
};

/** Checks that the browser has kept the cookie of a new session. Otherwise every page would lead
 * back to the sign-in page without a reason. */
async function keepSession(signedIn: Promise<Session>): Promise<Session> {
  await signedIn;
  try {
    return await authApi.getSession();
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 401)) throw error;
    throw new ApiError(
      {
        code: "foreign_origin",
        detail:
          "You are signed in, but your browser did not keep the session cookie. Allow cookies for this " +
          "address, or ask the administrator: the server must be started with --public-url and this address.",
      },
      0,
    );
  }
}

export const tokensApi = {
  list: async () => (await request<{ tokens: TokenInfo[] }>("/tokens")).tokens,
  create: (name: string, days: number, scope: TokenScope) =>
    post<TokenSecret>("/tokens", { name, days, scope }),
  revoke: (id: string) => remove(`/tokens/${id}`),
};

export const workspacesApi = {
  list: async () => (await request<{ workspaces: Workspace[] }>("/workspaces")).workspaces,
  get: (id: string) => request<Workspace>(`/workspaces/${id}`),
  listTemplates: async () => (await request<{ templates: Template[] }>("/templates")).templates,
  /** `attempt` is the idempotency key: a repeated request creates one workspace only. */
  create: (name: string, template: string, attempt: string) =>
    request<Workspace>("/workspaces", {
      method: "POST",
      json: { name, template },
      headers: { "idempotency-key": attempt },
    }),
  rename: (id: string, name: string) =>
    request<Workspace>(`/workspaces/${id}`, { method: "PATCH", json: { name } }),
  /** A home can only grow. */
  growHome: (id: string, mib: number) =>
    request<Workspace>(`/workspaces/${id}`, { method: "PATCH", json: { home_mib: mib } }),
  start: (id: string) => post<Workspace>(`/workspaces/${id}/start`),
  stop: (id: string) => post<Workspace>(`/workspaces/${id}/stop`),
  /** Keeps it running as if it was used now. */
  hold: (id: string) => post<Workspace>(`/workspaces/${id}/hold`),
  remove: (id: string) => remove(`/workspaces/${id}`),
  /** Possible for a few days after the deletion. The home is the one saved last. */
  undelete: (id: string) => post<Workspace>(`/workspaces/${id}/undelete`),
};

/**
 * A requested snapshot is answered once it is committed: the guest flushes first, then all changes
 * are uploaded.
 */
const SNAPSHOT_TIMEOUT_MS = 120_000;
/** The server compares both trees completely. */
const CHANGES_TIMEOUT_MS = 120_000;
/** The server's own limit for a restore, plus a minute. */
const RESTORE_TIMEOUT_MS = 6 * 3_600_000 + 60_000;
/** Long enough for the largest file that can be restored, over a slow connection. */
const CONTENT_TIMEOUT_MS = 30 * 60_000;

/** The server's own limit for a scrub, plus a minute. */
const SCRUB_TIMEOUT_MS = 3_660_000;

/** Path of an endpoint of a snapshot, below `/api/v1`. The id `latest` stands for the newest one. */
function snapshotPath(id: string, snapshot: string, rest: string, query: Record<string, string>): string {
  return `/workspaces/${id}/snapshots/${snapshot}/${rest}?${new URLSearchParams(query)}`;
}

export const snapshotsApi = {
  /** Newest first, at most `limit` (up to 1000). With `before`, an ISO time: only older ones. */
  list: (id: string, limit: number, before: string | null, signal?: AbortSignal) => {
    const query = new URLSearchParams({ limit: String(limit), ...(before ? { before } : {}) });
    return request<SnapshotList>(`/workspaces/${id}/snapshots?${query}`, signal ? { signal } : {});
  },
  /** Commits a snapshot of the home now. If the workspace is stopped, it is the home as it was saved. */
  create: (id: string, name?: string) =>
    request<Snapshot>(`/workspaces/${id}/snapshots`, {
      method: "POST",
      json: name ? { name } : {},
      timeoutMs: SNAPSHOT_TIMEOUT_MS,
    }),
  rename: (id: string, snapshot: string, name: string) =>
    request<Snapshot>(`/workspaces/${id}/snapshots/${snapshot}`, { method: "PATCH", json: { name } }),
  remove: (id: string, snapshot: string) => remove(`/workspaces/${id}/snapshots/${snapshot}`),
  listDirectory: (id: string, snapshot: string, path: string, signal: AbortSignal) =>
    request<SnapshotDirectory>(snapshotPath(id, snapshot, "files", { path }), { signal }),
  getContent: (id: string, snapshot: string, path: string, signal?: AbortSignal) =>
    fetchResponse(snapshotPath(id, snapshot, "content", { path }), {
      headers: { accept: "*/*" },
      timeoutMs: CONTENT_TIMEOUT_MS,
      ...(signal ? { signal } : {}),
    }),
  contentUrl: (id: string, snapshot: string, path: string) =>
    `/api/v1${snapshotPath(id, snapshot, "content", { path })}`,
  /** A directory and everything in it, as a tar archive. */
  archiveUrl: (id: string, snapshot: string, path: string) =>
    `/api/v1${snapshotPath(id, snapshot, "archive", { path })}`,
  /** What changed from one snapshot to a later one, or to the latest, at `path` and below. */
  listChanges: (id: string, from: string, to: string | null, signal: AbortSignal, path = "") =>
    request<Changes>(snapshotPath(id, from, "changes", { path, ...(to ? { with: to } : {}) }), {
      signal,
      timeoutMs: CHANGES_TIMEOUT_MS,
    }),
  restore: (id: string, snapshot: string) =>
    request<Workspace>(`/workspaces/${id}/restore`, {
      method: "POST",
      json: { snapshot },
      timeoutMs: SNAPSHOT_TIMEOUT_MS,
    }),
  /** Restores files into the running home, or only compares. The answer is a stream of events. */
  restoreFiles: (id: string, restore: NewRestore, signal: AbortSignal) =>
    fetchResponse(`/workspaces/${id}/restores`, {
      method: "POST",
      json: restore,
      headers: { accept: "text/event-stream" },
      signal,
      timeoutMs: RESTORE_TIMEOUT_MS,
    }),
  undoRestore: (id: string, restore: string, signal: AbortSignal) =>
    request<UndoneRestore>(`/workspaces/${id}/restores/${restore}/undo`, {
      method: "POST",
      json: {},
      signal,
      timeoutMs: CHANGES_TIMEOUT_MS,
    }),
  /** Reads and verifies every object of the newest snapshot, or of all snapshots. */
  scrub: (id: string, all: boolean, signal: AbortSignal) =>
    request<ScrubReport>(`/workspaces/${id}/scrub`, {
      method: "POST",
      json: { all },
      signal,
      timeoutMs: SCRUB_TIMEOUT_MS,
    }),
  fork: (id: string, fork: Fork) =>
    request<Workspace>(`/workspaces/${id}/fork`, {
      method: "POST",
      json: fork,
      timeoutMs: SNAPSHOT_TIMEOUT_MS,
    }),
};

export const usersApi = {
  list: async () => (await request<{ users: User[] }>("/users")).users,
  create: (user: { email: string; name: string; role: Role }) => post<CreatedUser>("/users", user),
  update: (id: string, change: { role?: Role; suspended?: boolean }) =>
    request<User>(`/users/${id}`, { method: "PATCH", json: change }),
  resetPassword: (id: string) => post<UserLink>(`/users/${id}/password-reset`),
  endSessions: (id: string) => remove(`/users/${id}/sessions`),
};

export const tenantKeyApi = {
  get: () => request<TenantKeyState>("/admin/tenant-key"),
  /** Destroys the key in a week. */
  destroy: (tenant: string) => post<TenantKeyState>("/admin/destroy-tenant-key", { tenant }),
  keep: () => post<TenantKeyState>("/admin/destroy-tenant-key/undo"),
};

export const networkApi = {
  get: (id: string) => request<WorkspaceNetwork>(`/workspaces/${id}/network`),
  allow: (id: string, names: string[]) =>
    post<WorkspaceNetwork>(`/workspaces/${id}/network/names`, { names }),
  getClass: (id: string) => request<ClassNetwork>(`/classes/${id}/network`),
  setClass: (id: string, policy: NetworkPolicy) =>
    request<ClassNetwork>(`/classes/${id}/network`, { method: "PUT", json: policy }),
  getTenant: () => request<NetworkPolicy>("/network"),
  /** Asks for the password if the session was not confirmed lately. */
  setTenant: (policy: NetworkPolicy) => request<NetworkPolicy>("/network", { method: "PUT", json: policy }),
  setTemplate: (name: string, policy: NetworkPolicy) =>
    request<NetworkPolicy>(`/templates/${name}/network`, { method: "PUT", json: policy }),
};

export const portsApi = {
  settings: (id: string) => request<PortSettingsList>(`/workspaces/${id}/port-settings`),
  set: (id: string, port: number, settings: EditPort) =>
    request<PortSettings>(`/workspaces/${id}/port-settings/${port}`, { method: "PUT", json: settings }),
  /** An address that opens the preview once. */
  ticket: (id: string, port: number) => post<PreviewTicket>(`/workspaces/${id}/port-settings/${port}/ticket`),
};

export const settingsApi = {
  ofUser: () => request<Settings>("/users/me/settings"),
  /** Changes what is named; null resets a setting. */
  changeOfUser: (change: Partial<Settings>) =>
    request<Settings>("/users/me/settings", { method: "PATCH", json: change }),
  ofWorkspace: (id: string) => request<Settings>(`/workspaces/${id}/settings`),
  changeOfWorkspace: (id: string, change: Partial<Settings>) =>
    request<Settings>(`/workspaces/${id}/settings`, { method: "PATCH", json: change }),
};

export const retentionApi = {
  get: () => request<Retention>("/retention"),
  set: (policy: Retention) => request<Retention>("/retention", { method: "PUT", json: policy }),
};

/** The server reads the whole log. */
const VERIFY_TIMEOUT_MS = 3_600_000;

export const auditApi = {
  /** Newest first. `before` is the number of the last entry of the page before. */
  list: (filter: URLSearchParams, signal?: AbortSignal, before?: number) => {
    const query = new URLSearchParams(filter);
    if (before !== undefined) query.set("before", String(before));
    return request<AuditPage>(`/audit?${query}`, signal ? { signal } : {});
  },
  exportUrl: (filter: URLSearchParams) => `/api/v1/audit/export?${filter}`,
  verify: () =>
    request<AuditVerification>("/audit/verify", { method: "POST", json: {}, timeoutMs: VERIFY_TIMEOUT_MS }),
};

export const budgetsApi = {
  list: async (signal?: AbortSignal) =>
    (await request<{ budgets: Budget[] }>("/budgets", signal ? { signal } : {})).budgets,
  /** Of a user or a class. */
  change: ({ level, id }: Budget, edit: EditBudget) =>
    request<Budget>(`/budgets/${level === "class" ? "classes" : "users"}/${id}`, {
      method: "PATCH",
      json: edit,
    }),
};

export const usageApi = {
  get: (query: URLSearchParams, signal?: AbortSignal) =>
    request<UsageReport>(`/usage?${query}`, signal ? { signal } : {}),
  exportUrl: (query: URLSearchParams) => `/api/v1/usage/export?${query}`,
};

/** A thousand students take a while: each gets an account, a workspace and an invitation. */
const ROSTER_TIMEOUT_MS = 120_000;

export const classesApi = {
  list: async () => (await request<{ classes: ClassSummary[] }>("/classes")).classes,
  get: (id: string) => request<Class>(`/classes/${id}`),
  create: (name: string, template: string) => post<Class>("/classes", { name, template }),
  remove: (id: string) => remove(`/classes/${id}`),
  addRoster: (id: string, text: string) =>
    request<RosterResult>(`/classes/${id}/roster`, {
      method: "POST",
      body: text,
      headers: { "content-type": "text/csv" },
      timeoutMs: ROSTER_TIMEOUT_MS,
    }),
  /** What a roster would change. A file is sent as it is, because the server finds its encoding. */
  previewRoster: (id: string, roster: string | Blob, signal?: AbortSignal) =>
    request<RosterResult>(`/classes/${id}/roster?dry_run=true`, {
      method: "POST",
      body: roster,
      headers: { "content-type": "text/csv" },
      ...(signal ? { signal } : {}),
    }),
  start: (id: string) => post<ClassAction>(`/classes/${id}/start`),
  stop: (id: string) => post<ClassAction>(`/classes/${id}/stop`),
  removeMember: (id: string, member: string) => remove(`/classes/${id}/members/${member}`),
  createInvitation: (id: string, member: string) =>
    post<InvitationLink>(`/classes/${id}/members/${member}/invitation`),
};

/** Long enough for a home of many gigabytes. */
const SEARCH_TIMEOUT_MS = 10 * 60_000;

/** Long enough for a large folder. */
const COPY_TIMEOUT_MS = 10 * 60_000;

export interface SearchOptions {
  pattern: string;
  /** Null: matches have no preview of a replacement. */
  replacement: string | null;
  regex: boolean;
  caseSensitive: boolean;
  wholeWord: boolean;
  ignored: boolean;
  path: string;
  include: string;
  exclude: string;
}

/** Largest image that is shown. */
const MAX_IMAGE_BYTES = 64 * 1024 * 1024;

/** The size in a `Content-Range` header: `bytes 0-4095/10000`. */
function totalOf(contentRange: string | null): number | null {
  const total = /\/(\d+)$/.exec(contentRange ?? "")?.[1];
  return total === undefined ? null : Number(total);
}

/** Path of an endpoint of a workspace's agent, below `/api/v1`. */
function agentPath(id: string, rest: string, query: Record<string, string> = {}): string {
  const text = new URLSearchParams(query).toString();
  return `/workspaces/${id}/agent/${rest}${text ? `?${text}` : ""}`;
}

export const filesApi = {
  list: (id: string, path: string, signal?: AbortSignal) =>
    request<Listing>(agentPath(id, "files", { path }), signal ? { signal } : {}),
  find: (id: string, query: string, ignored: boolean, signal: AbortSignal) =>
    request<FoundFiles>(agentPath(id, "files/find", { query, ignored: String(ignored) }), { signal }),
  /** Searches the text of files. The events arrive while the search runs, and aborting ends it. */
  search: async (id: string, options: SearchOptions, signal: AbortSignal) => {
    const { pattern, replacement, path, include, exclude } = options;
    const query = {
      pattern,
      path,
      include,
      exclude,
      regex: String(options.regex),
      case_sensitive: String(options.caseSensitive),
      whole_word: String(options.wholeWord),
      ignored: String(options.ignored),
      ...(replacement === null ? {} : { replacement }),
    };
    const response = await fetchResponse(agentPath(id, "files/search", query), {
      headers: { accept: "text/event-stream" },
      timeoutMs: SEARCH_TIMEOUT_MS,
      signal,
    });
    return serverEvents<SearchEvent>(textOf(response));
  },
  createDirectory: (id: string, path: string, parents = false) =>
    post<Entry>(agentPath(id, "files/directory"), { path, parents }),
  rename: (id: string, from: string, to: string) =>
    post<Entry>(agentPath(id, "files/rename"), { from, to, overwrite: false }),
  /** Copies a file, or a folder with its content. */
  copy: (id: string, from: string, to: string) =>
    request<Entry>(agentPath(id, "files/copy"), {
      method: "POST",
      json: { from, to },
      timeoutMs: COPY_TIMEOUT_MS,
    }),
  remove: (id: string, path: string, recursive: boolean) =>
    remove(agentPath(id, "files", recursive ? { path, recursive: "true" } : { path })),
  /** Creates an empty file. Fails if the file exists. */
  createFile: (id: string, path: string) =>
    request<Entry>(agentPath(id, "files/content", { path }), {
      method: "PUT",
      body: "",
      headers: { "if-none-match": "*" },
    }).catch((error: unknown) => {
      // The only condition is that there is no such file.
      if (!(error instanceof ApiError) || error.code !== "precondition_failed") throw error;
      const detail = "A file or folder with this name already exists. Choose another name.";
      throw new ApiError({ code: "name_taken", detail, request_id: error.requestId }, error.status);
    }),
  getContent: (id: string, path: string) =>
    fetchResponse(agentPath(id, "files/content", { path }), {
      headers: { accept: "*/*" },
      timeoutMs: CONTENT_TIMEOUT_MS,
    }),
  /** Whether there is a regular file. */
  exists: (id: string, path: string) =>
    fetchResponse(agentPath(id, "files/content", { path }), { method: "HEAD" }).then(
      () => true,
      (error: unknown) => {
        if (error instanceof ApiError && error.status >= 400 && error.status < 500) return false;
        throw error;
      },
    ),
  /** A part of a file, and its whole size. */
  getRange: async (id: string, path: string, start: number, length: number, signal: AbortSignal) => {
    const response = await fetchResponse(agentPath(id, "files/content", { path }), {
      headers: { accept: "*/*", range: `bytes=${start}-${start + length - 1}` },
      timeoutMs: CONTENT_TIMEOUT_MS,
      signal,
    });
    const bytes = new Uint8Array(await response.arrayBuffer());
    return { bytes, total: totalOf(response.headers.get("content-range")) ?? bytes.length };
  },
  /** The bytes of an image, at most `MAX_IMAGE_BYTES`. */
  getImage: async (id: string, path: string, signal: AbortSignal) => {
    const response = await fetchResponse(agentPath(id, "files/content", { path }), {
      headers: { accept: "*/*" },
      timeoutMs: CONTENT_TIMEOUT_MS,
      signal,
    });
    if (Number(response.headers.get("content-length")) > MAX_IMAGE_BYTES) {
      await response.body?.cancel();
      throw new Error("The image is larger than 64 MiB. Download it to view it.");
    }
    return response.arrayBuffer();
  },
  contentUrl: (id: string, path: string) => `/api/v1${agentPath(id, "files/content", { path })}`,
  downloadUrl: (id: string, path: string) =>
    `/api/v1${agentPath(id, "files/content", { path, download: "1" })}`,
};

export const documentsApi = {
  /** Replaces the file of an open document by its text. */
  overwrite: (id: string, path: string) => post<null>(agentPath(id, "documents/overwrite"), { path }),
  /** Replaces text at lines and columns, where it still is. */
  edit: (id: string, path: string, edits: readonly LineEdit[]) =>
    post<EditedDocument>(agentPath(id, "documents/edit"), { path, edits }),
};

export const gitApi = {
  repositories: async (id: string) =>
    (await request<Repositories>(agentPath(id, "git/repositories"))).repositories,
  status: (id: string, repository: string) =>
    request<GitStatus>(agentPath(id, "git/status", { repository }), { timeoutMs: GIT_TIMEOUT_MS }),
  references: (id: string, repository: string) =>
    request<References>(agentPath(id, "git/references", { repository })),
  log: (id: string, repository: string, options: { skip?: number; limit: number; all?: boolean }) =>
    request<GitHistory>(
      agentPath(id, "git/log", {
        repository,
        skip: String(options.skip ?? 0),
        limit: String(options.limit),
        all: String(options.all ?? false),
      }),
    ),
  diff: (id: string, repository: string, path: string, staged: boolean) =>
    request<FileDiff>(agentPath(id, "git/diff", { repository, path, staged: String(staged) })),
  /** A file as it is in the index, in the last commit, or in another one. Null: it is not there. */
  content: (id: string, repository: string, path: string, version: string) =>
    fetchResponse(agentPath(id, "git/content", { repository, path, version }), {
      headers: { accept: "*/*" },
    }).then(
      (response) => response.text(),
      (error: unknown) => {
        if (error instanceof ApiError && error.status === 404) return null;
        throw error;
      },
    ),
  blame: (id: string, repository: string, path: string, line: number) =>
    request<BlamedLine>(agentPath(id, "git/blame", { repository, path, line: String(line) })),
  /** Runs an operation. Its events arrive while it runs. Aborting ends a clone, fetch or push. */
  run: async (id: string, repository: string, operation: GitOperation, signal: AbortSignal) => {
    const response = await fetchResponse(agentPath(id, "git/run"), {
      method: "POST",
      json: { repository, operation },
      headers: { accept: "text/event-stream" },
      timeoutMs: GIT_RUN_TIMEOUT_MS,
      signal,
    });
    return serverEvents<GitEvent>(textOf(response));
  },
  answer: (id: string, prompt: string, answer: string | null) =>
    post<void>(agentPath(id, "git/answer"), { prompt, answer }),
};

export const languagesApi = {
  /** Asks a language server about an open document. */
  query: (id: string, query: LanguageQuery, signal: AbortSignal) =>
    request<LanguageAnswer>(agentPath(id, "languages/query"), { method: "POST", json: query, signal }),
  /** Renames a symbol in all files. */
  rename: (id: string, rename: RenameSymbol) => post<AppliedEdits>(agentPath(id, "languages/rename"), rename),
  /** Does what a code action says. */
  apply: (id: string, action: ApplyAction) => post<AppliedEdits>(agentPath(id, "languages/apply"), action),
  /** Undoes a change of files, where they are as it has left them. */
  undo: (id: string, client: string, change: string) =>
    post<AppliedEdits>(agentPath(id, "languages/undo"), { client, id: change }),
  restart: (id: string, language: string) => post<void>(agentPath(id, "languages/restart"), { language }),
};

export const terminalsApi = {
  list: (id: string) => request<TerminalList>(agentPath(id, "terminals")),
  get: (id: string, terminal: string) => request<TerminalInfo>(agentPath(id, `terminals/${terminal}`)),
  create: (id: string, terminal: NewTerminal = {}) =>
    post<TerminalInfo>(agentPath(id, "terminals"), terminal),
  rename: (id: string, terminal: string, name: string) =>
    post<TerminalInfo>(agentPath(id, `terminals/${terminal}/rename`), { name }),
  clear: (id: string, terminal: string) =>
    request<void>(agentPath(id, `terminals/${terminal}/clear`), { method: "POST" }),
  close: (id: string, terminal: string) => remove(agentPath(id, `terminals/${terminal}`)),
};

/** URL of one of the agent's WebSockets. */
export function socketUrl(id: string, rest: string, query: Record<string, string> = {}): string {
  const origin = window.location.origin.replace(/^http/, "ws");
  return `${origin}/api/v1${agentPath(id, rest, query)}`;
}
