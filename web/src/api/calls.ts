// The API by its verbs: one line a route, so that pages speak of workspaces and classes, not of addresses.
import { request } from "./client";
import type { Entry, Listing, Size, TerminalInfo } from "./agent";
import type {
  Class,
  ClassAction,
  ClassSummary,
  DeviceInfo,
  Invitation,
  InvitationLink,
  RosterResult,
  Session,
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
  start: (id: string) => post<Workspace>(`/workspaces/${id}/start`),
  stop: (id: string) => post<Workspace>(`/workspaces/${id}/stop`),
  remove: (id: string) => remove(`/workspaces/${id}`),
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
  makeDirectory: (id: string, path: string) => post<Entry>(agent(id, "files/directory"), { path }),
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
