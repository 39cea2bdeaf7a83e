import { FLACDecoder } from "@wasm-audio-decoders/flac";
import { Collector } from "./collector.ts";
import { quietly, skipId3 } from "./container.ts";
import {
  type Audio,
  type ByteSource,
  type ChannelChoice,
  checkFormat,
  refuse,
  refuseShort,
  type Selection,
  segmentSamples,
} from "./pcm.ts";

/** What the STREAMINFO block says (RFC 9639, section 8.2). */
export interface FlacInfo {
  channels: number;
  /** Hz */
  sampleRate: number;
  bits: number;
  /** Samples per channel; 0 where the writer did not know. */
  samples: number;
  /** Byte offset of the first frame. */
  offset: number;
}

export function isFlac(source: ByteSource): boolean {
  const at = skipId3(source);
  return String.fromCharCode(...source.read(at, at + 4)) === "fLaC";
}

/** Header of a FLAC file; where its writer left the duration open, the frames are counted. */
export function probeFlac(source: ByteSource, name: string): FlacInfo {
  const info = parseFlac(source, name);
  if (info.samples > 0) return info;
  const frames = splitFrames(source.read(info.offset, source.size), info, name);
  return { ...info, samples: frames.reduce((sum, frame) => sum + frame.samples, 0) };
}

/** Reads the metadata blocks of a native FLAC file. */
function parseFlac(source: ByteSource, name: string): FlacInfo {
  let at = skipId3(source) + 4;
  let info: Omit<FlacInfo, "offset"> | undefined;
  for (;;) {
    const head = source.read(at, at + 4);
    if (head.length < 4) refuse(name, "the FLAC file ends inside its metadata; it is cut short");
    const size = (head[1] << 16) | (head[2] << 8) | head[3];
    if ((head[0] & 127) === 0) {
      const body = source.read(at + 4, at + 4 + size);
      if (body.length < 34) refuse(name, "the STREAMINFO block of the FLAC file is cut short");
      info = {
        sampleRate: (body[10] << 12) | (body[11] << 4) | (body[12] >> 4),
        channels: ((body[12] >> 1) & 7) + 1,
        bits: (((body[12] & 1) << 4) | (body[13] >> 4)) + 1,
        samples: (body[13] & 15) * 2 ** 32 + new DataView(body.buffer, body.byteOffset).getUint32(14),
      };
    }
    at += 4 + size;
    if (head[0] & 128) break;
  }
  if (!info) refuse(name, "the FLAC file has no STREAMINFO block; it is damaged");
  checkFormat(info.sampleRate, info.channels, name);
  return { ...info, offset: at };
}

interface Frame {
  /** Index of its first sample. */
  start: number;
  samples: number;
  bytes: Uint8Array;
}

/** Decodes the frames that hold the segment, or all. */
export async function decodeFlac(source: ByteSource, name: string, selection: Selection): Promise<Audio> {
  const index = indexFlac(source, name);
  const { samples, sampleRate, channels } = index;
  const { channel } = selection;
  const [start, end] = segmentSamples(samples, sampleRate, selection, name);
  return { samples: await decodeIndexed(source, index, name, { channel, start, end }), sampleRate, channels };
}

/** Where the frames of a FLAC file stand: with it, any stretch can be decoded by itself. */
export interface FlacIndex extends FlacInfo {
  frames: readonly { start: number; samples: number; at: number; bytes: number }[];
}

/** Finds the frames of a whole file, which is read for it and then let go. */
export function indexFlac(source: ByteSource, name: string): FlacIndex {
  const info = parseFlac(source, name);
  const bytes = source.read(info.offset, source.size);
  const frames = splitFrames(bytes, info, name).map(({ start, samples, bytes: own }) => ({
    start,
    samples,
    at: info.offset + own.byteOffset - bytes.byteOffset,
    bytes: own.length,
  }));
  const last = frames.at(-1);
  const samples = last ? last.start + last.samples : 0;
  if (samples < info.samples) refuseShort(name, info.samples / info.sampleRate, samples / info.sampleRate);
  if (samples === 0) refuse(name, "the FLAC file holds no audio");
  return { ...info, samples, frames };
}

/** Frames of a turn: enough to be worth a call, few enough to stay in the processor's cache. */
const turn = 8;

/** Samples [start, end) of a channel or of the mean of all. */
export async function decodeIndexed(
  source: ByteSource,
  { frames, channels, bits }: FlacIndex,
  name: string,
  { channel, start, end }: { channel: ChannelChoice; start: number; end: number },
): Promise<Float32Array> {
  const needed = frames.filter((frame) => frame.start < end && frame.start + frame.samples > start);
  const skipped = needed[0].start;
  const collector = new Collector({ channels, channel, start: start - skipped, end: end - skipped }, name);
  for (let i = 0; i < needed.length; i += turn) {
    const own = needed
      .slice(i, i + turn)
      .map((frame) => ({ ...frame, bytes: source.read(frame.at, frame.at + frame.bytes) }));
    const { channelData } = await decodeFrames(own, frames, name);
    for (const all of channelData) rescale(all, bits);
    collector.add(channelData);
  }
  if (collector.received < end - skipped)
    refuse(name, "the FLAC frames do not hold what their headers say; the file is damaged");
  return collector.samples;
}

/**
 * The package divides n-bit integers by 2^(n-1) - 1; libsndfile, and so every Python toolkit, divides by 2^(n-1). Going
 * through the integers makes the result exact.
 */
function rescale(samples: Float32Array, bits: number): void {
  const full = 2 ** (bits - 1);
  const unit = 1 / full;
  // Adding a number whose last bit counts ones rounds to a whole number, much quicker than Math.round.
  const ones = 1.5 * 2 ** 52;
  for (let i = 0; i < samples.length; i++) samples[i] = (samples[i] * (full - 1) + ones - ones) * unit;
}

// One decoder serves all files of a thread, whose turns may alternate: their frames are made to stand alone.
let shared: Promise<FLACDecoder> | undefined;

async function openDecoder(): Promise<FLACDecoder> {
  const decoder = new FLACDecoder();
  await decoder.ready;
  return decoder;
}

/** Where the shared decoder stands: in which file, and at which of its samples. */
let stands: { frames: FlacIndex["frames"]; at: number } | undefined;

/** Decodes a turn's frames, one behind the other, of the file whose frames are `of`. */
async function decodeFrames(frames: readonly Frame[], of: FlacIndex["frames"], name: string) {
  shared ??= openDecoder();
  const decoder = await shared;
  const { start } = frames[0];
  const goesOn = start === 0 || (stands?.frames === of && stands.at === start);
  const last = frames[frames.length - 1];
  stands = goesOn ? { frames: of, at: last.start + last.samples } : undefined;
  try {
    const given = frames.map(({ bytes }) => (goesOn ? bytes : standingAlone(bytes)));
    return await quietly(name, "FLAC", () => decoder.decodeFrames(given));
  } catch (error) {
    // A damaged file may have upset it; others take a new one for their next turn.
    shared = stands = undefined;
    throw error;
  }
}

/**
 * A frame renumbered as the first of its stream, its checksums made anew. libFLAC takes a frame whose number is higher than the one
 * that it expects (another file's, or one behind a gap between two stretches) for a sign that frames are missing.
 */
function standingAlone(frame: Uint8Array): Uint8Array {
  const number = numberBytes(frame, 0);
  const out = new Uint8Array(frame.length - number + 1);
  out.set(frame.subarray(0, 4));
  out.set(frame.subarray(4 + number), 5);
  const check = frameHeader(frame, 0, frame.length)!.bytes - number;
  out[check] = headerCrc(out, 0, check);
  const crc = frameCrc(0, out, 0, out.length - 2);
  out[out.length - 2] = crc >> 8;
  out[out.length - 1] = crc & 255;
  return out;
}

/**
 * Cuts the stream into frames. A boundary is a place where the CRC-16 over the frame comes out zero (its last two bytes
 * are the CRC itself) and the next frame's header begins with a right CRC-8: no decoder is needed to find the frame of a
 * given sample, and a damaged or cut frame is noticed.
 */
function splitFrames(bytes: Uint8Array, info: FlacInfo, name: string): Frame[] {
  const frames: Frame[] = [];
  let end = bytes.length;
  if (end >= 128 && bytes[end - 128] === 0x54 && bytes[end - 127] === 0x41 && bytes[end - 126] === 0x47)
    end -= 128; // ID3v1
  let begin = 0;
  let position = 0;
  while (begin < end) {
    const place = `${(position / info.sampleRate).toFixed(3)} s of the FLAC file; it is cut short or damaged`;
    const header = frameHeader(bytes, begin, end);
    if (!header) refuse(name, `no frame begins at ${place}`);
    let crc = 0;
    let at = begin + header.bytes;
    // The checksum goes on from one possible header to the next: most are chance, and their checksum says so.
    for (let done = begin; ; done = at++) {
      at = nextHeader(bytes, at, end);
      crc = frameCrc(crc, bytes, done, at);
      if (crc === 0 || at === end) break;
    }
    if (at === end && crc !== 0) refuse(name, `the checksum of a frame is wrong at ${place}`);
    frames.push({ start: position, samples: header.samples, bytes: bytes.subarray(begin, at) });
    position += header.samples;
    begin = at;
  }
  return frames;
}

/** Where the next bytes that could be a frame's header stand at or after `at`, or `end`. */
function nextHeader(bytes: Uint8Array, at: number, end: number): number {
  let next = bytes.indexOf(0xff, at);
  while (next >= 0 && next < end && !frameHeader(bytes, next, end)) next = bytes.indexOf(0xff, next + 1);
  return next < 0 || next > end ? end : next;
}

/** Continues a CRC-16 over bytes [begin, end), four at a time by a table for each place among the four. */
function frameCrc(start: number, bytes: Uint8Array, begin: number, end: number): number {
  let crc = start;
  let at = begin;
  for (; at + 4 <= end; at += 4)
    crc =
      crc16[768 + ((crc >> 8) ^ bytes[at])] ^
      crc16[512 + ((crc & 255) ^ bytes[at + 1])] ^
      crc16[256 + bytes[at + 2]] ^
      crc16[bytes[at + 3]];
  for (; at < end; at++) crc = ((crc << 8) & 0xffff) ^ crc16[(crc >> 8) ^ bytes[at]];
  return crc;
}

/** Block sizes by their 4-bit code (RFC 9639, table 14); 6 and 7 are spelt out after the header. */
const blockSize = (code: number) => (code === 1 ? 192 : code < 6 ? 576 << (code - 2) : 256 << (code - 8));

/** Parses a frame header (RFC 9639, section 9.1), or returns undefined where none stands. */
function frameHeader(bytes: Uint8Array, at: number, end: number) {
  if (at + 6 > end || bytes[at] !== 0xff || (bytes[at + 1] & 0xfe) !== 0xf8) return undefined;
  const sizeCode = bytes[at + 2] >> 4;
  const rateCode = bytes[at + 2] & 15;
  if (sizeCode === 0 || rateCode === 15 || bytes[at + 3] & 1 || bytes[at + 3] >> 4 > 10) return undefined;
  let next = at + 4 + numberBytes(bytes, at);
  let samples = sizeCode === 6 || sizeCode === 7 ? 0 : blockSize(sizeCode);
  if (sizeCode === 6) samples = bytes[next++] + 1;
  if (sizeCode === 7) {
    samples = ((bytes[next] << 8) | bytes[next + 1]) + 1;
    next += 2;
  }
  next += rateCode === 12 ? 1 : rateCode === 13 || rateCode === 14 ? 2 : 0;
  if (next >= end) return undefined;
  return headerCrc(bytes, at, next) === bytes[next] ? { samples, bytes: next + 1 - at } : undefined;
}

/** Length of a frame's number, which is coded like UTF-8: the count of leading ones. */
function numberBytes(bytes: Uint8Array, at: number): number {
  let ones = 0;
  while (bytes[at + 4] & (0x80 >> ones)) ones++;
  return Math.max(1, ones);
}

function headerCrc(bytes: Uint8Array, begin: number, end: number): number {
  let crc = 0;
  for (let i = begin; i < end; i++) crc = crc8[crc ^ bytes[i]];
  return crc;
}

const crcTable = (bits: number, polynomial: number) =>
  Uint16Array.from({ length: 256 }, (_, byte) => {
    let crc = byte << (bits - 8);
    for (let i = 0; i < 8; i++) crc = crc & (1 << (bits - 1)) ? (crc << 1) ^ polynomial : crc << 1;
    return crc & (2 ** bits - 1);
  });
const crc8 = crcTable(8, 0x07);
/** Four tables: what a byte does to the checksum with 0, 1, 2 or 3 bytes behind it. */
const crc16 = new Uint16Array(1024);
crc16.set(crcTable(16, 0x8005));
for (let i = 256; i < 1024; i++) crc16[i] = ((crc16[i - 256] << 8) & 0xffff) ^ crc16[crc16[i - 256] >> 8];
