import { expect, it } from "vitest";
import { hexRows, pageOf, parseOffset } from "./hex-model";

it("shows bytes in rows of sixteen", () => {
  const bytes = Uint8Array.from([...new TextEncoder().encode("Hello, \u0000\u001bwörld"), 0xff, 0x7f]);
  expect(hexRows(bytes, 0x1000)).toEqual([
    "00001000  48 65 6c 6c 6f 2c 20 00  1b 77 c3 b6 72 6c 64 ff  Hello, ..w..rld.",
    "00001010  7f                                                .",
  ]);
  expect(hexRows(new Uint8Array(), 0)).toEqual([]);
});

it("finds the page of an offset", () => {
  expect([pageOf(0, 0), pageOf(4095, 9000), pageOf(4096, 9000), pageOf(1e9, 9000)]).toEqual([0, 0, 1, 2]);
});

it("reads offsets", () => {
  expect(["10", "0x1F", " 7 ", "", "x", "-1", "0x"].map(parseOffset)).toEqual([
    10,
    31,
    7,
    null,
    null,
    null,
    null,
  ]);
});
