// Sends every HTTP request of the app: JSON in; JSON, the response, or an ApiError out. Knows no
// endpoint and no page.
import type { FieldError, Problem } from "./types";

/** How long a request may wait for its response. */
const RESPONSE_TIMEOUT_MS = 30_000;

export class ApiError extends Error {
  readonly code: string;
  readonly status: number;
  readonly requestId: string;
  readonly fields: FieldError[];

  constructor(problem: Partial<Problem>, status: number) {
    super(problem.detail || problem.title || "The server sent a response that cannot be read.");
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
  method?: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
  json?: unknown;
  body?: BodyInit;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** Replaces the default timeout, for slow endpoints. */
  timeoutMs?: number;
  /** The user has just confirmed the password for this request. It is not asked for again. */
  isConfirmed?: boolean;
}

/** Called for every 401 that means "no session". The app then shows the sign-in page. */
let signedOutListener: () => void = () => undefined;
export function onSignedOut(listener: () => void): void {
  signedOutListener = listener;
}

/** Called when the server asks for a proof of the password. Resolves to whether the user gave it. */
let confirmationListener: () => Promise<boolean> = () => Promise.resolve(false);
export function onConfirmationRequired(listener: () => Promise<boolean>): void {
  confirmationListener = listener;
}

/** Returns the response with its body unread. Use it for content that is not JSON. */
export async function fetchResponse(path: string, options: RequestOptions = {}): Promise<Response> {
  const headers: Record<string, string> = { accept: "application/json", ...options.headers };
  let body = options.body;
  if (options.json !== undefined) {
    headers["content-type"] = "application/json";
    body = JSON.stringify(options.json);
  }
  const deadline = AbortSignal.timeout(options.timeoutMs ?? RESPONSE_TIMEOUT_MS);
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
    throw new ApiError({ code: "unreachable", detail: "Cannot reach the server. Check your connection." }, 0);
  }
  if (!response.ok) {
    const failure = new ApiError(await problemOf(response), response.status);
    if (failure.code === "unauthenticated") signedOutListener();
    if (failure.code === "confirmation_required" && !options.isConfirmed && (await confirmationListener())) {
      return fetchResponse(path, { ...options, isConfirmed: true });
    }
    throw failure;
  }
  return response;
}

export async function request<T>(path: string, options: RequestOptions = {}): Promise<T> {
  const response = await fetchResponse(path, options);
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
    return { ...problemOfProxy(response.status), request_id: requestId };
  }
}

/** What a response without a problem means. Burrow sends none, so a proxy in front of it did. */
export function problemOfProxy(status: number): Partial<Problem> {
  if (status === 413) {
    return {
      code: "too_large",
      detail:
        "A proxy in front of Burrow refused this, because it is larger than the proxy allows. " +
        "Its administrator can raise the limit (in nginx: client_max_body_size 0).",
    };
  }
  if (status === 502 || status === 503 || status === 504) {
    return {
      code: "unavailable",
      detail: "A proxy in front of Burrow cannot reach it. Try again in a moment.",
    };
  }
  return {
    code: status >= 500 ? "unavailable" : "internal",
    title: `The server returned status ${status}`,
  };
}

/** The text to show for anything thrown. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
