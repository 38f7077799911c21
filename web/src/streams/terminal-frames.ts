// A terminal's messages as bytes, as protocol::terminal has them: the first byte is the kind, numbers are big-endian. Pure.
import type { AttachInfo, Exit, Size } from "../api/agent";

export type ServerFrame =
  | { kind: "output"; offset: number; bytes: Uint8Array }
  | { kind: "info"; info: AttachInfo }
  | { kind: "exited"; exit: Exit }
  | { kind: "input-accepted"; offset: number }
  | { kind: "snapshot"; offset: number; screen: Uint8Array };

export type ClientFrame =
  | { kind: "input"; offset: number; bytes: Uint8Array }
  | { kind: "resize"; size: Size }
  | { kind: "acknowledge"; offset: number };

export class MalformedFrame extends Error {}

/** Most columns and rows that a screen may have. */
export const MAX_SIZE = 1000;

export function decode(message: ArrayBuffer): ServerFrame {
  if (message.byteLength < 1) throw new MalformedFrame("an empty message");
  const kind = new DataView(message).getUint8(0);
  switch (kind) {
    case 0:
      return { kind: "output", offset: offsetOf(message), bytes: new Uint8Array(message, 9) };
    case 1:
      return { kind: "info", info: infoOf(jsonOf(message)) };
    case 2:
      return { kind: "exited", exit: jsonOf(message) as Exit };
    case 3:
      return { kind: "input-accepted", offset: offsetOf(message) };
    case 4:
      return { kind: "snapshot", offset: offsetOf(message), screen: new Uint8Array(message, 9) };
    default:
      throw new MalformedFrame(`an unknown kind of message: ${kind}`);
  }
}

export function encode(frame: ClientFrame): Uint8Array<ArrayBuffer> {
  switch (frame.kind) {
    case "input": {
      const message = numbered(0, frame.offset, frame.bytes.length);
      message.set(frame.bytes, 9);
      return message;
    }
    case "resize": {
      const message = new Uint8Array(5);
      const view = new DataView(message.buffer);
      view.setUint8(0, 1);
      view.setUint16(1, clamp(frame.size.cols));
      view.setUint16(3, clamp(frame.size.rows));
      return message;
    }
    case "acknowledge":
      return numbered(2, frame.offset, 0);
  }
}

const clamp = (number: number): number => Math.max(1, Math.min(MAX_SIZE, Math.floor(number)));

function numbered(kind: number, offset: number, tail: number): Uint8Array<ArrayBuffer> {
  const message = new Uint8Array(9 + tail);
  const view = new DataView(message.buffer);
  view.setUint8(0, kind);
  view.setBigUint64(1, BigInt(offset));
  return message;
}

function offsetOf(message: ArrayBuffer): number {
  if (message.byteLength < 9) throw new MalformedFrame("a message too short for its number");
  const offset = new DataView(message).getBigUint64(1);
  // 9 petabytes of output: not a terminal's.
  if (offset > BigInt(Number.MAX_SAFE_INTEGER))
    throw new MalformedFrame("an offset that no terminal reaches");
  return Number(offset);
}

function jsonOf(message: ArrayBuffer): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(new Uint8Array(message, 1)));
  } catch {
    throw new MalformedFrame("a message whose JSON cannot be read");
  }
}

function infoOf(value: unknown): AttachInfo {
  const info = value as AttachInfo | null;
  const numbers = [info?.size?.cols, info?.size?.rows, info?.start, info?.input];
  if (!info || !numbers.every((number) => Number.isSafeInteger(number))) {
    throw new MalformedFrame("an information that lacks a number");
  }
  return { ...info, size: { cols: clamp(info.size.cols), rows: clamp(info.size.rows) } };
}
