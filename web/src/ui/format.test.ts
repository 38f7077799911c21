import { describe, expect, it } from "vitest";
import { formatBytes, formatDuration, formatFullInstant, formatInstant, formatRelative } from "./format";

describe("format", () => {
  it("formats durations, times and sizes", () => {
    expect(formatDuration(420)).toBe("0.4 s");
    expect(formatDuration(12_900)).toBe("12 s");
    expect(formatDuration(185_000)).toBe("3 min 05 s");
    expect(formatDuration(-5)).toBe("0.0 s");
    expect(formatRelative("2026-01-01T00:00:00Z", Date.parse("2026-01-01T00:05:30Z"))).toBe("5 minutes ago");
    expect(formatRelative("2026-01-04T00:00:00Z", Date.parse("2026-01-01T00:00:00Z"))).toBe("in 3 days");
    expect(formatBytes(512)).toBe("512 B");
    expect(formatBytes(2048)).toBe("2.0 KiB");
    expect(formatBytes(200 * 1024 * 1024)).toBe("200 MiB");
  });

  it("shortens instants by their distance", () => {
    const at = (text: string) => new Date(text).getTime(); // local time, in any time zone
    const now = at("2025-03-12T18:00:00");
    expect(formatInstant(at("2025-03-12T14:03:22"), now)).toBe("14:03:22");
    expect(formatInstant(at("2025-03-11T14:03:22"), now)).toBe("11 Mar, 14:03");
    expect(formatInstant(at("2024-03-11T14:03:22"), now)).toBe("11 Mar 2024");
    expect(formatFullInstant(now)).toBe("Wed, 12 Mar 2025, 18:00:00");
  });
});
