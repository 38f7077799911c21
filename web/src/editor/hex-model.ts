// Bytes as a hex view shows them: offset, hexadecimal and printable characters. Pure.

/** Bytes of a row, and of a page. */
export const ROW_BYTES = 16;
export const PAGE_BYTES = 4 * 1024;

/** A row for every 16 bytes; `start` is the offset of the first byte. */
export function hexRows(bytes: Uint8Array, start: number): string[] {
  const rows: string[] = [];
  for (let at = 0; at < bytes.length; at += ROW_BYTES) {
    const row = bytes.subarray(at, at + ROW_BYTES);
    const hex = Array.from(row, (byte) => byte.toString(16).padStart(2, "0"));
    // A gap in the middle, as in hexdump.
    const columns = [hex.slice(0, 8).join(" "), hex.slice(8).join(" ")].join("  ").padEnd(ROW_BYTES * 3);
    const text = Array.from(row, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "."));
    rows.push(`${(start + at).toString(16).padStart(8, "0")}  ${columns}  ${text.join("")}`);
  }
  return rows;
}

/** The page that has an offset, at most the last one. */
export function pageOf(offset: number, total: number): number {
  const last = Math.max(0, Math.ceil(total / PAGE_BYTES) - 1);
  return Math.max(0, Math.min(Math.floor(offset / PAGE_BYTES), last));
}

/** Reads an offset: decimal, or hexadecimal after `0x`. Null: it is none. */
export function parseOffset(text: string): number | null {
  const trimmed = text.trim();
  if (!/^(?:0x[0-9a-f]{1,12}|\d{1,15})$/i.test(trimmed)) return null;
  return Number(trimmed);
}
