import { OggVorbisDecoder } from "@wasm-audio-decoders/ogg-vorbis";
import { OggOpusDecoder } from "ogg-opus-decoder";
import { quietly } from "./container.ts";
import { type ByteSource, checkFormat, type Decoded, refuse, type Segment, segmentSamples } from "./pcm.ts";

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
export function walkOgg(bytes: Uint8Array, name: string): OggStream {
  let at = 0;
  let stream: (Omit<OggStream, "samples"> & { preSkip: number }) | undefined;
  let serial = 0;
  let sequence = 0;
  let position = 0;
  let ended = false;
  while (at < bytes.length) {
    const segments = bytes[at + 26];
    const bodyAt = at + 27 + segments;
    let end = bodyAt;
    for (let i = 0; i < segments; i++) end += bytes[at + 27 + i];
    const place = `page ${sequence} of the Ogg file (byte ${at})`;
    if (at + 27 > bytes.length || end > bytes.length) refuse(name, `the file is cut short inside ${place}`);
    if (!isOgg(bytes.subarray(at, at + 4))) refuse(name, `${place} is damaged: no page begins there`);
    if (ended) refuse(name, `a second stream begins at ${place}; chained Ogg files are not supported`);
    if (pageCrc(bytes, at, end) !== uint(bytes, at + 22))
      refuse(name, `${place} is damaged: its checksum is wrong`);
    if (!stream) {
      stream = parseHead(bytes.subarray(bodyAt, end), name);
      serial = uint(bytes, at + 14);
      sequence = uint(bytes, at + 18);
    } else if (uint(bytes, at + 14) !== serial)
      refuse(name, "the Ogg file holds several streams; needed is one of Vorbis or Opus");
    if (uint(bytes, at + 18) !== sequence) refuse(name, `a page is missing before ${place}`);
    sequence++;
    const high = uint(bytes, at + 10);
    // A granule position of -1 marks a page on which no packet ends.
    if (high !== 0xffffffff) position = high * 2 ** 32 + uint(bytes, at + 6);
    ended = (bytes[at + 5] & 4) !== 0;
    at = end;
  }
  if (!stream || !ended) refuse(name, "the file is cut short: the last page of the Ogg stream is missing");
  const samples = position - stream.preSkip;
  if (samples <= 0) refuse(name, "the Ogg file holds no audio");
  const { codec, channels, sampleRate } = stream;
  return { codec, channels, sampleRate, samples };
}

function parseHead(packet: Uint8Array, name: string) {
  const text = String.fromCharCode(...packet.subarray(0, 8));
  if (text.startsWith("\x01vorbis") && packet.length >= 30) {
    const channels = packet[11];
    const sampleRate = uint(packet, 12);
    checkFormat(sampleRate, channels, name);
    return { codec: "vorbis" as const, channels, sampleRate, preSkip: 0 };
  }
  if (text === "OpusHead" && packet.length >= 19) {
    checkFormat(48000, packet[9], name);
    return {
      codec: "opus" as const,
      channels: packet[9],
      sampleRate: 48000,
      preSkip: packet[10] | (packet[11] << 8),
    };
  }
  const other = /^\x7fFLAC/.test(text) ? "FLAC" : text.startsWith("Speex") ? "Speex" : "something else";
  refuse(name, `the Ogg file holds ${other}; needed is Vorbis or Opus (or FLAC in a .flac file)`);
}

export const isOgg = (head: Uint8Array) =>
  head[0] === 0x4f && head[1] === 0x67 && head[2] === 0x67 && head[3] === 0x53;

// CRC-32 with polynomial 0x04c11db7, not reflected, over the page with its own checksum field as zeros.
const crc32 = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 24;
  for (let i = 0; i < 8; i++) crc = crc & 0x80000000 ? (crc << 1) ^ 0x04c11db7 : crc << 1;
  return crc;
});

function pageCrc(bytes: Uint8Array, begin: number, end: number): number {
  let crc = 0;
  for (let at = begin; at < end; at++) {
    const byte = at >= begin + 22 && at < begin + 26 ? 0 : bytes[at];
    crc = (crc << 8) ^ crc32[(crc >>> 24) ^ byte];
  }
  return crc >>> 0;
}

type Decoder = Pick<OggVorbisDecoder, "ready" | "free"> & {
  decodeFile(bytes: Uint8Array): Promise<{ channelData: Float32Array[]; samplesDecoded: number }>;
};

/** Decodes an Ogg Vorbis or Ogg Opus file. */
export async function decodeOgg(source: ByteSource, name: string, segment: Segment): Promise<Decoded> {
  const bytes = source.read(0, source.size);
  const { codec, channels, sampleRate, samples } = walkOgg(bytes, name);
  const [start, end] = segmentSamples(samples, sampleRate, segment, name);
  const decoder: Decoder = codec === "vorbis" ? new OggVorbisDecoder() : new OggOpusDecoder();
  await decoder.ready;
  try {
    const decoded = await quietly(name, codec === "vorbis" ? "Vorbis" : "Opus", () =>
      decoder.decodeFile(bytes),
    );
    if (decoded.channelData.length !== channels || decoded.samplesDecoded < samples)
      refuse(name, `the ${codec} packets do not hold what the pages say; the file is damaged`);
    return { channelData: decoded.channelData.map((all) => all.subarray(start, end)), sampleRate };
  } finally {
    decoder.free();
  }
}
