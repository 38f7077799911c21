// Encodes and decodes a terminal's binary messages, as defined in protocol::terminal: the first
// byte is the kind, numbers are big-endian. Pure.
import type { AttachInfo, Exit, Size } from "../api/agent";

export type ServerFrame =
  | { kind: "output"; offset: number; bytes: Uint8Array }
  | { kind: "info"; info: AttachInfo }
  | { kind: "exited"; exit: Exit }
  | { kind: "input-accepted"; offset: number }
  | { kind: "snapshot"; offset: number; screen: Uint8Array }
  | { kind: "pong" };

export type ClientFrame =
  | { kind: "input"; offset: number; bytes: Uint8Array }
  | { kind: "resize"; size: Size }
  | { kind: "acknowledge"; offset: number }
  | { kind: "ping" }
  | { kind: "colors"; colors: Uint8Array };

export class MalformedFrame extends Error {}

/** Most columns, and most rows, that a screen may have. */
export const MAX_CELLS = 1000;

export function decodeServerFrame(message: ArrayBuffer): ServerFrame {
  if (message.byteLength < 1) throw new MalformedFrame("empty message");
  const kind = new DataView(message).getUint8(0);
  switch (kind) {
    case 0:
      return { kind: "output", offset: readOffset(message), bytes: new Uint8Array(message, 9) };
    case 1:
      return { kind: "info", info: parseInfo(parseJson(message)) };
    case 2:
      return { kind: "exited", exit: parseJson(message) as Exit };
    case 3:
      return { kind: "input-accepted", offset: readOffset(message) };
    case 4:
      return { kind: "snapshot", offset: readOffset(message), screen: new Uint8Array(message, 9) };
    case 5:
      return { kind: "pong" };
    default:
      throw new MalformedFrame(`unknown kind of message: ${kind}`);
  }
}

export function encodeClientFrame(frame: ClientFrame): Uint8Array<ArrayBuffer> {
  switch (frame.kind) {
    case "input": {
      const message = messageWithOffset(0, frame.offset, frame.bytes.length);
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
      return messageWithOffset(2, frame.offset, 0);
    case "ping":
      return new Uint8Array([4]);
    case "colors":
      return Uint8Array.from([5, ...frame.colors]);
  }
}

const clamp = (number: number): number => Math.max(1, Math.min(MAX_CELLS, Math.floor(number)));

function messageWithOffset(kind: number, offset: number, tail: number): Uint8Array<ArrayBuffer> {
  const message = new Uint8Array(9 + tail);
  const view = new DataView(message.buffer);
  view.setUint8(0, kind);
  view.setBigUint64(1, BigInt(offset));
  return message;
}

function readOffset(message: ArrayBuffer): number {
  if (message.byteLength < 9) throw new MalformedFrame("message too short for its offset");
  const offset = new DataView(message).getBigUint64(1);
  // 9 petabytes: no terminal has that much output.
  if (offset > BigInt(Number.MAX_SAFE_INTEGER)) throw new MalformedFrame("offset out of range");
  return Number(offset);
}

function parseJson(message: ArrayBuffer): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(new Uint8Array(message, 1)));
  } catch {
    throw new MalformedFrame("invalid JSON");
  }
}

function parseInfo(value: unknown): AttachInfo {
  const info = value as AttachInfo | null;
  const numbers = [info?.size?.cols, info?.size?.rows, info?.start, info?.input];
  if (!info || !numbers.every((number) => Number.isSafeInteger(number))) {
    throw new MalformedFrame("attach info with a missing number");
  }
  return { ...info, size: { cols: clamp(info.size.cols), rows: clamp(info.size.rows) } };
}
