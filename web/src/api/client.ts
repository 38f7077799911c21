// One function for every HTTP request of the app: JSON in, JSON (or the answer itself) or an ApiError out. Knows no page and
// no noun.
import type { FieldError, Problem } from "./types";

/** A server that has not begun to answer by then is not going to. */
const ANSWER_DEADLINE_MS = 30_000;

export class ApiError extends Error {
  readonly code: string;
  readonly status: number;
  readonly requestId: string;
  readonly fields: FieldError[];

  constructor(problem: Partial<Problem>, status: number) {
    super(problem.detail || problem.title || "The server answered in a way that cannot be understood.");
    this.name = "ApiError";
    this.code = problem.code ?? "internal";
    this.status = status;
    this.requestId = problem.request_id ?? "";
    this.fields = problem.fields ?? [];
  }

  field(name: string): string | undefined {
    return this.fields.find((field) => field.field === name)?.message;
  }
}

export interface RequestOptions {
  method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  json?: unknown;
  body?: BodyInit;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** For what takes long: instead of the usual deadline. */
  deadlineMs?: number;
}

/** Called with every 401 that means "no session", so that the app can show the sign-in page. */
let signedOut: () => void = () => undefined;
export function onSignedOut(listener: () => void): void {
  signedOut = listener;
}

/** The answer itself, its body unread: for bytes. */
export async function answer(path: string, options: RequestOptions = {}): Promise<Response> {
  const headers: Record<string, string> = { accept: "application/json", ...options.headers };
  let body = options.body;
  if (options.json !== undefined) {
    headers["content-type"] = "application/json";
    body = JSON.stringify(options.json);
  }
  const deadline = AbortSignal.timeout(options.deadlineMs ?? ANSWER_DEADLINE_MS);
  const signal = options.signal ? AbortSignal.any([options.signal, deadline]) : deadline;
  let response: Response;
  try {
    response = await fetch(`/api/v1${path}`, {
      method: options.method ?? "GET",
      headers,
      body: body ?? null,
      signal,
      credentials: "same-origin",
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(
      { code: "unreachable", detail: "The server cannot be reached. Check the connection." },
      0,
    );
  }
  if (!response.ok) {
    const failure = new ApiError(await problemOf(response), response.status);
    if (failure.code === "unauthenticated") signedOut();
    throw failure;
  }
  return response;
}

export async function request<T>(path: string, options: RequestOptions = {}): Promise<T> {
  const response = await answer(path, options);
  if (response.status === 204 || response.headers.get("content-length") === "0") return undefined as T;
  const text = await response.text();
  return (text ? JSON.parse(text) : undefined) as T;
}

async function problemOf(response: Response): Promise<Partial<Problem>> {
  const requestId = response.headers.get("x-request-id") ?? "";
  try {
    const problem = (await response.json()) as Partial<Problem>;
    return { ...problem, request_id: problem.request_id || requestId };
  } catch {
    return {
      code: response.status >= 500 ? "unavailable" : "internal",
      title: `The server answered ${response.status}`,
      request_id: requestId,
    };
  }
}

/** What to tell a person about anything thrown. */
export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
