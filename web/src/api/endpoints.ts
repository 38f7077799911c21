// The API by its verbs: one line a route, so that pages speak of workspaces and classes, not of addresses.
import { answer, request } from "./client";
import type { Entry, Listing, Size, TerminalInfo } from "./agent";
import type {
  Changes,
  ScrubReport,
  Class,
  ClassAction,
  ClassSummary,
  DeviceInfo,
  Fork,
  Invitation,
  InvitationLink,
  PastDirectory,
  Retention,
  RosterResult,
  Session,
  Snapshot,
  SnapshotList,
  Template,
  TokenInfo,
  TokenSecret,
  User,
  Workspace,
} from "./types";

const post = <T>(path: string, json?: unknown) => request<T>(path, { method: "POST", json: json ?? {} });
const remove = (path: string) => request<void>(path, { method: "DELETE" });

export const auth = {
  session: () => request<Session>("/auth/session"),
  byLink: (token: string) => post<Session>("/auth/link", { token }),
  byPassword: (email: string, password: string) => post<Session>("/auth/login", { email, password }),
  signOut: () => post<void>("/auth/logout"),
  setPassword: (next: string, current?: string) =>
    post<void>("/auth/password", { new: next, current: current || null }),
  editMe: (change: { name?: string; email?: string }) =>
    request<User>("/users/me", { method: "PATCH", json: change }),
  device: (code: string) => request<DeviceInfo>(`/auth/device/${encodeURIComponent(code)}`),
  answerDevice: (code: string, approve: boolean) =>
    post<void>("/auth/device/approve", { user_code: code, approve }),
  invitation: (token: string) => post<Invitation>("/invitations/view", { token }),
  acceptInvitation: (token: string, name: string, password: string) =>
    post<Session>("/invitations/accept", { token, name, password }),
};

export const tokens = {
  list: async () => (await request<{ tokens: TokenInfo[] }>("/tokens")).tokens,
  create: (name: string, days: number) => post<TokenSecret>("/tokens", { name, days }),
  revoke: (id: string) => remove(`/tokens/${id}`),
};

export const workspaces = {
  list: async () => (await request<{ workspaces: Workspace[] }>("/workspaces")).workspaces,
  get: (id: string) => request<Workspace>(`/workspaces/${id}`),
  templates: async () => (await request<{ templates: Template[] }>("/templates")).templates,
  /** `attempt` names the wish, so that a repeated request makes one workspace. */
  create: (name: string, template: string, attempt: string) =>
    request<Workspace>("/workspaces", {
      method: "POST",
      json: { name, template },
      headers: { "idempotency-key": attempt },
    }),
  rename: (id: string, name: string) =>
    request<Workspace>(`/workspaces/${id}`, { method: "PATCH", json: { name } }),
  /** Homes grow only. */
  grow: (id: string, mib: number) =>
    request<Workspace>(`/workspaces/${id}`, { method: "PATCH", json: { home_mib: mib } }),
  start: (id: string) => post<Workspace>(`/workspaces/${id}/start`),
  stop: (id: string) => post<Workspace>(`/workspaces/${id}/stop`),
  remove: (id: string) => remove(`/workspaces/${id}`),
  /** Takes a deletion back, for some days: the home is what was saved last. */
  undelete: (id: string) => post<Workspace>(`/workspaces/${id}/undelete`),
};

/** A snapshot that is asked for is answered when it is safe: the machine settles, and what it has goes to the store. */
const SAFE_DEADLINE_MS = 120_000;
/** All that differs between two homes is looked for in both. */
const CHANGES_DEADLINE_MS = 120_000;
/** As long as the largest file that one restores may take over a slow line. */
const CONTENT_DEADLINE_MS = 30 * 60_000;

/** As long as the server takes for it. */
const CHECK_DEADLINE_MS = 3_660_000;

/** The address of a route of a snapshot, below `/api/v1`. `latest` is a snapshot too. */
function past(id: string, snapshot: string, rest: string, query: Record<string, string>): string {
  return `/workspaces/${id}/snapshots/${snapshot}/${rest}?${new URLSearchParams(query)}`;
}

export const snapshots = {
  /** Newest first, `limit` at most (up to 1000); with `before`, an instant, the older ones. */
  list: (id: string, limit: number, before: string | null, signal?: AbortSignal) =>
    request<SnapshotList>(
      `/workspaces/${id}/snapshots?${new URLSearchParams({ limit: String(limit), ...(before ? { before } : {}) })}`,
      signal ? { signal } : {},
    ),
  /** Of a workspace that rests: what its home is, kept. */
  take: (id: string, name?: string) =>
    request<Snapshot>(`/workspaces/${id}/snapshots`, {
      method: "POST",
      json: name ? { name } : {},
      deadlineMs: SAFE_DEADLINE_MS,
    }),
  rename: (id: string, snapshot: string, name: string) =>
    request<Snapshot>(`/workspaces/${id}/snapshots/${snapshot}`, { method: "PATCH", json: { name } }),
  remove: (id: string, snapshot: string) => remove(`/workspaces/${id}/snapshots/${snapshot}`),
  directory: (id: string, snapshot: string, path: string, signal: AbortSignal) =>
    request<PastDirectory>(past(id, snapshot, "files", { path }), { signal }),
  content: (id: string, snapshot: string, path: string, signal?: AbortSignal) =>
    answer(past(id, snapshot, "content", { path }), {
      headers: { accept: "*/*" },
      deadlineMs: CONTENT_DEADLINE_MS,
      ...(signal ? { signal } : {}),
    }),
  contentUrl: (id: string, snapshot: string, path: string) =>
    `/api/v1${past(id, snapshot, "content", { path })}`,
  /** A directory with all below it, as a tar. */
  archiveUrl: (id: string, snapshot: string, path: string) =>
    `/api/v1${past(id, snapshot, "archive", { path })}`,
  /** From a snapshot to a later one, or to the latest; at a path and below. */
  changes: (id: string, from: string, to: string | null, signal: AbortSignal, path = "") =>
    request<Changes>(past(id, from, "changes", { path, ...(to ? { with: to } : {}) }), {
      signal,
      deadlineMs: CHANGES_DEADLINE_MS,
    }),
  restore: (id: string, snapshot: string) =>
    request<Workspace>(`/workspaces/${id}/restore`, {
      method: "POST",
      json: { snapshot },
      deadlineMs: SAFE_DEADLINE_MS,
    }),
  /** Reads every object that the newest snapshot names, or all of them do. */
  check: (id: string, all: boolean, signal: AbortSignal) =>
    request<ScrubReport>(`/workspaces/${id}/scrub`, {
      method: "POST",
      json: { all },
      signal,
      deadlineMs: CHECK_DEADLINE_MS,
    }),
  fork: (id: string, fork: Fork) =>
    request<Workspace>(`/workspaces/${id}/fork`, {
      method: "POST",
      json: fork,
      deadlineMs: SAFE_DEADLINE_MS,
    }),
};

export const retention = {
  get: () => request<Retention>("/retention"),
  set: (rule: Retention) => request<Retention>("/retention", { method: "PUT", json: rule }),
};

export const classes = {
  list: async () => (await request<{ classes: ClassSummary[] }>("/classes")).classes,
  get: (id: string) => request<Class>(`/classes/${id}`),
  create: (name: string, template: string) => post<Class>("/classes", { name, template }),
  remove: (id: string) => remove(`/classes/${id}`),
  addRoster: (id: string, csv: string) =>
    request<RosterResult>(`/classes/${id}/roster`, {
      method: "POST",
      body: csv,
      headers: { "content-type": "text/csv" },
    }),
  start: (id: string) => post<ClassAction>(`/classes/${id}/start`),
  stop: (id: string) => post<ClassAction>(`/classes/${id}/stop`),
  removeMember: (id: string, member: string) => remove(`/classes/${id}/members/${member}`),
  invite: (id: string, member: string) => post<InvitationLink>(`/classes/${id}/members/${member}/invitation`),
};

/** The address of a route of a workspace's agent, below `/api/v1`. */
function agent(id: string, rest: string, query: Record<string, string> = {}): string {
  const text = new URLSearchParams(query).toString();
  return `/workspaces/${id}/agent/${rest}${text ? `?${text}` : ""}`;
}

export const files = {
  list: (id: string, path: string, signal?: AbortSignal) =>
    request<Listing>(agent(id, "files", { path }), signal ? { signal } : {}),
  makeDirectory: (id: string, path: string, parents = false) =>
    post<Entry>(agent(id, "files/directory"), { path, parents }),
  rename: (id: string, from: string, to: string) =>
    post<Entry>(agent(id, "files/rename"), { from, to, overwrite: false }),
  remove: (id: string, path: string, recursive: boolean) =>
    remove(agent(id, "files", recursive ? { path, recursive: "true" } : { path })),
  /** Fails where the file is there already. */
  makeFile: (id: string, path: string) =>
    request<Entry>(agent(id, "files/content", { path }), {
      method: "PUT",
      body: "",
      headers: { "if-none-match": "*" },
    }),
  content: (id: string, path: string) =>
    answer(agent(id, "files/content", { path }), {
      headers: { accept: "*/*" },
      deadlineMs: CONTENT_DEADLINE_MS,
    }),
  /** Writes the whole file: a new one, or in the place of what has `etag`. */
  write: (id: string, path: string, content: Blob, etag: string | null, signal?: AbortSignal) =>
    request<Entry>(agent(id, "files/content", { path }), {
      method: "PUT",
      body: content,
      ...(signal ? { signal } : {}),
      headers: {
        "content-type": "application/octet-stream",
        ...(etag === null ? { "if-none-match": "*" } : { "if-match": etag }),
      },
      deadlineMs: CONTENT_DEADLINE_MS,
    }),
  contentUrl: (id: string, path: string) => `/api/v1${agent(id, "files/content", { path })}`,
  downloadUrl: (id: string, path: string) => `/api/v1${agent(id, "files/content", { path, download: "1" })}`,
};

export const terminals = {
  list: async (id: string) =>
    (await request<{ terminals: TerminalInfo[] }>(agent(id, "terminals"))).terminals,
  create: (id: string, size?: Size) => post<TerminalInfo>(agent(id, "terminals"), size ? { size } : {}),
  close: (id: string, terminal: string) => remove(agent(id, `terminals/${terminal}`)),
};

/** The address of one of the agent's WebSockets. */
export function socketUrl(id: string, rest: string, query: Record<string, string> = {}): string {
  const origin = window.location.origin.replace(/^http/, "ws");
  return `${origin}/api/v1${agent(id, rest, query)}`;
}
