import { describe, expect, it } from "vitest";
import {
  canShowPreviews,
  localAddress,
  openedPorts,
  portRows,
  previewOrigin,
  ticketAddress,
  typedPath,
  visibilityText,
} from "./ports-model";

const now = Date.parse("2026-03-02T12:00:00Z");
const listening = (port: number, process = "node") => ({ port, process, pid: 1 });

describe("ports", () => {
  it("are those that are open or have settings", () => {
    const settings = [
      { port: 8000, visibility: "members" as const, public_until: null, label: "API" },
      { port: 3000, visibility: "public" as const, public_until: "2026-03-02T11:00:00Z", label: "" },
    ];
    const rows = portRows([listening(3000), listening(22, "sshd")], settings, now);
    expect(rows.map(({ port, process, isOpen }) => [port, process, isOpen])).toEqual([
      [22, "sshd", true],
      [3000, "node", true],
      [8000, "", false],
    ]);
    expect(rows.map((row) => visibilityText(row, now))).toEqual(["Private", "Private", "Members"]);
  });

  it("are announced when they are opened, not when the page is", () => {
    expect(openedPorts(null, [listening(3000)])).toEqual([]);
    expect(openedPorts([listening(22)], [listening(22), listening(3000)])).toEqual([listening(3000)]);
    expect(openedPorts([listening(3000)], [])).toEqual([]);
  });
});

describe("previews", () => {
  it("have an origin for each port", () => {
    expect(previewOrigin({ scheme: "https", host: "p.example", port: 443 }, "id", 3000)).toBe(
      "https://3000--id.p.example",
    );
    expect(previewOrigin({ scheme: "http", host: "localhost", port: 8080 }, "id", 80)).toBe(
      "http://80--id.localhost:8080",
    );
  });

  it("at localhost are found on the same computer only", () => {
    const local = { scheme: "http", host: "localhost", port: 8080 };
    const cases: [string, boolean][] = [
      ["localhost", true],
      ["127.0.0.1", true],
      ["[::1]", true],
      ["burrow.localhost", true],
      ["192.168.1.5", false],
      ["localhost.example", false],
    ];
    for (const [host, expected] of cases) expect(canShowPreviews(local, host), host).toBe(expected);
    expect(canShowPreviews({ ...local, host: "p.example" }, "burrow.example")).toBe(true);
    expect(canShowPreviews(null, "localhost")).toBe(false);
  });

  it("open for links to this computer", () => {
    expect(localAddress("http://localhost:3000/a?b=c#d")).toEqual({ port: 3000, path: "/a?b=c#d" });
    expect(localAddress("http://0.0.0.0:8000")).toEqual({ port: 8000, path: "/" });
    expect(localAddress("http://[::1]:5173/")).toEqual({ port: 5173, path: "/" });
    expect(localAddress("https://127.0.0.1/x")).toEqual({ port: 443, path: "/x" });
    for (const url of ["https://localhost.evil:3000/", "ftp://localhost:21/", "localhost:3000", "http://["])
      expect(localAddress(url), url).toBeNull();
  });

  it("take paths that are typed", () => {
    const origin = "http://3000--id.localhost:8080";
    expect(typedPath("/a", origin)).toBe("/a");
    expect(typedPath("a?b", origin)).toBe("/a?b");
    expect(typedPath(`${origin}/x`, origin)).toBe("/x");
    expect(typedPath(` ${origin}`, origin)).toBe("/");
    expect(typedPath("https://evil.example/", origin)).toBeNull();
    expect(typedPath(`${origin}.evil/`, origin)).toBeNull();
    expect(ticketAddress("http://x/.burrow/ticket?ticket=t", "/a?b")).toBe(
      "http://x/.burrow/ticket?ticket=t&to=%2Fa%3Fb",
    );
  });
});
