import { OggVorbisDecoder } from "@wasm-audio-decoders/ogg-vorbis";
import { OpusDecoder } from "opus-decoder";
import { Collector } from "./collector.ts";
import { quietly, release } from "./container.ts";
import { opusPacketSamples } from "./opus.ts";
import { type Audio, type ByteSource, checkFormat, refuse, type Selection, segmentSamples } from "./pcm.ts";

/** What the pages of an Ogg file say before anything is decoded (RFC 3533). */
export interface OggStream {
  codec: "vorbis" | "opus";
  channels: number;
  /** Hz of the decoded audio: 48,000 for Opus whatever went in. */
  sampleRate: number;
  /** Samples per channel. */
  samples: number;
}

const uint = (bytes: Uint8Array, at: number) =>
  new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true);

/**
 * Walks the pages and demands what a whole file has: right checksums, page numbers without a gap, one stream, a last
 * page that says it is the last. The decoder packages would answer a damaged file with noise or nothing.
 */
export function walkOgg(bytes: Uint8Array, name: string): OggStream & OggContent {
  let at = 0;
  let head: Head | undefined;
  let serial = 0;
  let sequence = 0;
  let position = 0;
  let ended = false;
  // Samples that the packets hold at most: a position beyond them is damage, found before memory is set aside for it.
  let held = 0;
  const assemble = packetAssembler();
  const packets: Uint8Array[] = [];
  while (at < bytes.length) {
    const laces = bytes.subarray(at + 27, at + 27 + bytes[at + 26]);
    const bodyAt = at + 27 + laces.length;
    const end = laces.reduce((sum, size) => sum + size, bodyAt);
    const place = `page ${sequence} of the Ogg file (byte ${at})`;
    if (bytes.length < at + 27 || laces.length < bytes[at + 26] || bytes.length < end)
      refuse(name, `the file is cut short inside ${place}`);
    if (!isOgg(bytes.subarray(at, at + 4))) refuse(name, `${place} is damaged: no page begins there`);
    if (ended) refuse(name, `a second stream begins at ${place}; chained Ogg files are not supported`);
    if (pageCrc(bytes, at, end) !== uint(bytes, at + 22))
      refuse(name, `${place} is damaged: its checksum is wrong`);
    if (!head) {
      head = parseHead(bytes.subarray(bodyAt, end), name);
      serial = uint(bytes, at + 14);
      sequence = uint(bytes, at + 18);
    } else if (uint(bytes, at + 14) !== serial)
      refuse(name, "the Ogg file holds several streams; needed is one of Vorbis or Opus");
    if (uint(bytes, at + 18) !== sequence) refuse(name, `a page is missing before ${place}`);
    for (const packet of assemble(laces, bytes.subarray(bodyAt, end))) {
      if (head.codec === "opus" && isOpusHeader(packet)) continue;
      const most = head.codec === "opus" ? opusPacketSamples(packet, head.streams) : mostVorbisSamples;
      if (most === undefined) refuse(name, `${place} is damaged: it holds a packet that is not Opus`);
      held += most;
      packets.push(packet);
    }
    sequence++;
    const high = uint(bytes, at + 10);
    // A granule position of -1 marks a page on which no packet ends.
    if (high !== 0xffffffff) position = high * 2 ** 32 + uint(bytes, at + 6);
    ended = (bytes[at + 5] & 4) !== 0;
    at = end;
  }
  if (!head || !ended) refuse(name, "the file is cut short: the last page of the Ogg stream is missing");
  const samples = position - head.preSkip;
  if (samples <= 0) refuse(name, "the Ogg file holds no audio");
  const { codec, channels, sampleRate } = head;
  if (position > held) refuseEmptyPackets(name, codec);
  return { codec, channels, sampleRate, samples, head, packets };
}

/** Of a Vorbis packet: half the largest block that a stream may use (Vorbis I, section 4.2.2). */
const mostVorbisSamples = 4096;

function refuseEmptyPackets(name: string, codec: string): never {
  refuse(name, `the ${codec} packets do not hold what the pages say; the file is damaged`);
}

/** Joins the laced segments of pages to packets: one ends with each segment shorter than 255 bytes. */
function packetAssembler() {
  let open: Uint8Array[] = [];
  return (laces: Uint8Array, body: Uint8Array): Uint8Array[] => {
    const packets: Uint8Array[] = [];
    let from = 0;
    let to = 0;
    for (const size of laces) {
      to += size;
      if (size === 255) continue;
      const last = body.subarray(from, to);
      packets.push(open.length === 0 ? last : concatenate([...open, last]));
      open = [];
      from = to;
    }
    if (to > from) open.push(body.subarray(from, to));
    return packets;
  };
}

function concatenate(parts: Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

const isOpusHeader = (packet: Uint8Array) =>
  /^Opus(Head|Tags)$/.test(String.fromCharCode(...packet.subarray(0, 8)));

interface Head extends Omit<OggStream, "samples"> {
  /** Samples to drop at the start. */
  preSkip: number;
  /** Opus streams in a packet: one for each channel or pair of channels. */
  streams: number;
  /** How many of the streams are pairs, and the stream and side of each channel; Opus only. */
  coupled: number;
  table: number[];
}

interface OggContent {
  head: Head;
  /** What the decoder is given: of Opus the audio packets, of Vorbis three headers and then those. */
  packets: Uint8Array[];
}

function parseHead(packet: Uint8Array, name: string): Head {
  const text = String.fromCharCode(...packet.subarray(0, 8));
  if (text.startsWith("\x01vorbis") && packet.length >= 30) {
    const channels = packet[11];
    const sampleRate = uint(packet, 12);
    checkFormat(sampleRate, channels, name);
    return { codec: "vorbis", channels, sampleRate, preSkip: 0, streams: 1, coupled: 0, table: [] };
  }
  if (text === "OpusHead" && packet.length >= 19) return parseOpusHead(packet, name);
  const other = text.startsWith("\x7fFLAC") ? "FLAC" : text.startsWith("Speex") ? "Speex" : "something else";
  refuse(name, `the Ogg file holds ${other}; needed is Vorbis or Opus (or FLAC in a .flac file)`);
}

/** RFC 7845, section 5.1: mapping family 0 is one stream of one or two channels, the others name streams and table. */
function parseOpusHead(packet: Uint8Array, name: string): Head {
  const channels = packet[9];
  const table =
    packet[18] === 0
      ? Array.from({ length: channels }, (_, c) => c)
      : [...packet.subarray(21, 21 + channels)];
  const [streams, coupled] = packet[18] === 0 ? [1, channels - 1] : [packet[19] ?? 0, packet[20] ?? 0];
  const known = packet[18] === 0 ? channels <= 2 : table.every((c) => c === 255 || c < streams + coupled);
  const complete = packet[18] === 0 || table.length === channels;
  if (channels === 0 || !known || !complete || streams === 0 || coupled > streams)
    refuse(name, "the header of the Opus stream is damaged: its channels do not fit its streams");
  const preSkip = packet[10] | (packet[11] << 8);
  return { codec: "opus", channels, sampleRate: 48000, preSkip, streams, coupled, table };
}

export const isOgg = (head: Uint8Array) =>
  head[0] === 0x4f && head[1] === 0x67 && head[2] === 0x67 && head[3] === 0x53;

// CRC-32 with polynomial 0x04c11db7, not reflected, over the page with its own checksum field as zeros.
const crc32 = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 24;
  for (let i = 0; i < 8; i++) crc = crc & 0x80000000 ? (crc << 1) ^ 0x04c11db7 : crc << 1;
  return crc;
});

/** Checksum of the page that fills bytes [begin, end). */
export function pageCrc(bytes: Uint8Array, begin: number, end: number): number {
  let crc = 0;
  for (let at = begin; at < end; at++) {
    const byte = at >= begin + 22 && at < begin + 26 ? 0 : bytes[at];
    crc = (crc << 8) ^ crc32[(crc >>> 24) ^ byte];
  }
  return crc >>> 0;
}

/** Decodes an Ogg Vorbis or Ogg Opus file. */
export async function decodeOgg(source: ByteSource, name: string, selection: Selection): Promise<Audio> {
  const bytes = source.read(0, source.size);
  const { codec, channels, sampleRate, samples, head, packets } = walkOgg(bytes, name);
  const [start, end] = segmentSamples(samples, sampleRate, selection, name);
  const collector = new Collector({ channels, channel: selection.channel, start, end }, name);
  await (codec === "opus"
    ? decodeOpus(packets, head, collector, name)
    : decodeVorbis(packets, collector, name));
  if (collector.received < samples) refuseEmptyPackets(name, codec);
  return { samples: collector.samples, sampleRate, channels };
}

/** Packets of a turn: about a second, whose samples stay in the processor's cache. */
const turn = 48;

type VorbisPages = Parameters<OggVorbisDecoder["decodeOggPages"]>[0];

async function decodeVorbis(packets: Uint8Array[], collector: Collector, name: string): Promise<void> {
  const [identification, , vorbisSetup] = packets;
  if (packets.length < 3) refuse(name, "the Ogg file lacks the headers of a Vorbis stream; it is damaged");
  const decoder = new OggVorbisDecoder();
  await decoder.ready;
  try {
    for (let at = 3; at < packets.length; at += turn) {
      // What the package reads of pages as its own parser makes them, which takes a sixth of the time to decode.
      const codecFrames = packets.slice(at, at + turn).map((data) => ({ data, header: { vorbisSetup } }));
      const pages = [{ data: identification, codecFrames, isLastPage: false }] as unknown as VorbisPages;
      collector.add((await quietly(name, "Vorbis", () => decoder.decodeOggPages(pages))).channelData);
    }
  } finally {
    release(decoder);
  }
}

async function decodeOpus(packets: Uint8Array[], head: Head, collector: Collector, name: string) {
  const { channels, streams, coupled, table, preSkip } = head;
  const decoder = new OpusDecoder({
    channels,
    streamCount: streams,
    coupledStreamCount: coupled,
    channelMappingTable: table,
    preSkip,
  });
  await decoder.ready;
  try {
    for (let at = 0; at < packets.length; at += turn) {
      const piece = packets.slice(at, at + turn);
      collector.add((await quietly(name, "Opus", () => decoder.decodeFrames(piece))).channelData);
    }
  } finally {
    release(decoder);
  }
}
