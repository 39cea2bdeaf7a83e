import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Json } from "./checkpoint.ts";
import type { LogRecord } from "./log.ts";

/** TensorBoard finds files by this part of their name. */
export const EVENTS_FILE = "events.out.tfevents.voxsmith";

/** Scalars of a run as TensorBoard reads them. */
export interface EventsFile {
  write(record: LogRecord): void;
  close(): void;
}

/**
 * Opens a run's events file for writing, beside its log. What the log holds already, after a resume, is written anew, so that
 * both tell the same; a killed process loses no more than the last event.
 */
export function openEvents(folder: string, kept: readonly LogRecord[]): EventsFile {
  const descriptor = openSync(join(folder, EVENTS_FILE), "w");
  const put = (event: Buffer) => void writeSync(descriptor, tfRecord(event));
  const write = (record: LogRecord) => {
    const scalars = scalarsOf(record);
    if (scalars.length > 0) put(summaryEvent(Date.now() / 1000, record.step, scalars));
  };
  put(Buffer.concat([float64(1, Date.now() / 1000), text(3, "brain.Event:2")]));
  for (const record of kept) write(record);
  return { write, close: () => closeSync(descriptor) };
}

/** The numbers of a log line, as `train/loss`, `train/digit`, `valid/digit.accuracy`. */
export function scalarsOf({ step: _, event, ...rest }: LogRecord): [tag: string, value: number][] {
  const out: [string, number][] = [];
  const visit = (path: string, value: Json) => {
    if (typeof value === "number") out.push([`${event}/${path}`, value]);
    else if (typeof value === "object" && value !== null && !Array.isArray(value))
      // What a group's members belong to is plain from their names.
      for (const [name, member] of Object.entries(value)) visit(name, member);
  };
  if (event !== "train" && event !== "valid") return out;
  for (const [name, value] of Object.entries(rest)) visit(name, value);
  return out;
}

// tensorflow/core/util/event.proto and tensorflow/core/framework/summary.proto, as far as scalars need them.

function summaryEvent(seconds: number, step: number, scalars: readonly [string, number][]): Buffer {
  const values = scalars.map(([tag, value]) => bytes(1, Buffer.concat([text(1, tag), float32(2, value)])));
  return Buffer.concat([float64(1, seconds), varint(2, step), bytes(5, Buffer.concat(values))]);
}

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

function number(value: number): Buffer {
  const out: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) out.push((rest % 128) | 128);
  return Buffer.from([...out, rest]);
}
const keyOf = (field: number, type: number) => number(field * 8 + type);
const varint = (field: number, value: number) => Buffer.concat([keyOf(field, VARINT), number(value)]);
const bytes = (field: number, value: Buffer) =>
  Buffer.concat([keyOf(field, BYTES), number(value.length), value]);
const text = (field: number, value: string) => bytes(field, Buffer.from(value));

function float64(field: number, value: number): Buffer {
  const out = Buffer.alloc(8);
  out.writeDoubleLE(value);
  return Buffer.concat([keyOf(field, FIXED64), out]);
}

function float32(field: number, value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeFloatLE(value);
  return Buffer.concat([keyOf(field, FIXED32), out]);
}

/** Length, its checksum, the bytes, theirs: the framing of TensorFlow's record files. */
export function tfRecord(data: Buffer): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(data.length));
  return Buffer.concat([length, checksum(length), data, checksum(data)]);
}

const CASTAGNOLI = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
  return c >>> 0;
});

/** CRC-32C, rotated and shifted so that a checksum of data with checksums inside stays sound. */
function checksum(data: Buffer): Buffer {
  let c = 0xffffffff;
  for (const byte of data) c = CASTAGNOLI[(c ^ byte) & 255] ^ (c >>> 8);
  c = (c ^ 0xffffffff) >>> 0;
  const out = Buffer.alloc(4);
  out.writeUInt32LE(((((c >>> 15) | (c << 17)) >>> 0) + 0xa282ead8) >>> 0);
  return out;
}
