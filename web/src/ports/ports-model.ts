// The ports of a workspace as the page shows them: open ones, and those with settings. Pure.
import type { ListeningPort } from "../api/agent";
import type { PortSettings, PortVisibility, PreviewAddress } from "../api/types";
import { formatInstant } from "../ui/format";

export interface PortRow {
  port: number;
  /** Empty: unknown, or nothing listens. */
  process: string;
  label: string;
  visibility: PortVisibility;
  /** When a public port becomes private. */
  publicUntil: string | null;
  isOpen: boolean;
}

/** Open ports and shared or named ones, by number. A port that was public until now is private. */
export function portRows(
  open: readonly ListeningPort[],
  settings: readonly PortSettings[],
  now: number,
): PortRow[] {
  const listening = new Map(open.map((port) => [port.port, port]));
  const known = new Map(settings.map((setting) => [setting.port, setting]));
  const ports = [...new Set([...listening.keys(), ...known.keys()])].sort((one, other) => one - other);
  return ports.map((port) => {
    const setting = known.get(port);
    const until = setting?.public_until ?? null;
    const isOver = until !== null && Date.parse(until) <= now;
    return {
      port,
      process: listening.get(port)?.process ?? "",
      label: setting?.label ?? "",
      visibility: isOver ? "private" : (setting?.visibility ?? "private"),
      publicUntil: isOver ? null : until,
      isOpen: listening.has(port),
    };
  });
}

/** Who sees a port, in words. */
export function visibilityText({ visibility, publicUntil }: PortRow, now: number): string {
  if (visibility === "private") return "Private";
  if (visibility === "members") return "Members";
  return publicUntil ? `Public until ${formatInstant(Date.parse(publicUntil), now)}` : "Public";
}

/** The ports that were opened since. Nothing was opened before the first list. */
export function openedPorts(
  before: readonly ListeningPort[] | null,
  after: readonly ListeningPort[],
): ListeningPort[] {
  if (before === null) return [];
  const known = new Set(before.map(({ port }) => port));
  return after.filter(({ port }) => !known.has(port));
}

/** The origin of a port's preview. */
export function previewOrigin(preview: PreviewAddress, workspace: string, port: number): string {
  const isDefault = preview.port === (preview.scheme === "https" ? 443 : 80);
  const suffix = isDefault ? "" : `:${preview.port}`;
  return `${preview.scheme}://${port}--${workspace}.${preview.host}${suffix}`;
}

/** Whether this browser finds previews: names of localhost are those of the browser's own computer. */
export function canShowPreviews(preview: PreviewAddress | null, pageHost: string): boolean {
  if (preview === null) return false;
  const isLoopback = /^(localhost|.*\.localhost|127\.[\d.]+|\[::1\])$/.test(pageHost);
  return preview.host !== "localhost" || isLoopback;
}

export interface LocalAddress {
  port: number;
  /** Path, query and fragment. */
  path: string;
}

/** The port and path of a link to a server in the workspace, as programs print it. Null: another link. */
export function localAddress(url: string): LocalAddress | null {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    return null;
  }
  const isLocal = ["localhost", "127.0.0.1", "0.0.0.0", "[::1]", "[::]"].includes(parsed.hostname);
  if (!isLocal || !["http:", "https:"].includes(parsed.protocol)) return null;
  const port = parsed.port ? Number(parsed.port) : parsed.protocol === "https:" ? 443 : 80;
  return { port, path: `${parsed.pathname}${parsed.search}${parsed.hash}` };
}

/** What was typed into the address field, as a path of the preview. Null: an address of another origin. */
export function typedPath(text: string, origin: string): string | null {
  const typed = text.trim();
  if (typed === origin) return "/";
  if (typed.startsWith(`${origin}/`)) return typed.slice(origin.length);
  if (/^[a-z]+:\/\//i.test(typed)) return null;
  return typed.startsWith("/") ? typed : `/${typed}`;
}

/** Page of the app that opens a preview in a tab. */
export function previewPage(workspace: string, port: number, path = "/"): string {
  return `/preview?${new URLSearchParams({ workspace, port: String(port), to: path }).toString()}`;
}

/** The address that exchanges a ticket and goes on to a path. */
export function ticketAddress(ticketUrl: string, path: string): string {
  return `${ticketUrl}&to=${encodeURIComponent(path)}`;
}
