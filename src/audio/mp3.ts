import { MPEGDecoder } from "mpg123-decoder";
import { Collector } from "./collector.ts";
import { quietly, release, skipId3 } from "./container.ts";
import { type Audio, type ByteSource, refuse, refuseShort, type Selection, segmentSamples } from "./pcm.ts";

interface FrameHeader {
  bytes: number;
  samples: number;
  sampleRate: number;
  channels: number;
  /** Bits that stay the same through a stream: version, layer and rate. */
  kind: number;
}

// ISO/IEC 11172-3 section 2.4.2.3 and 13818-3: kbit/s by bit-rate index, for the five pairs of version and layer.
const bitRates = [
  [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448], // MPEG-1 layer I
  [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384], // MPEG-1 layer II
  [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320], // MPEG-1 layer III
  [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256], // MPEG-2, 2.5 layer I
  [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160], // MPEG-2, 2.5 layers II and III
];
const baseRates = [44100, 48000, 32000];

/** Parses the four bytes of a frame header, or returns undefined where none stands (free format counts as none). */
export function mp3Header(bytes: Uint8Array, at: number): FrameHeader | undefined {
  if (at + 4 > bytes.length || bytes[at] !== 0xff || (bytes[at + 1] & 0xe0) !== 0xe0) return undefined;
  const version = (bytes[at + 1] >> 3) & 3; // 3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5
  const layer = 4 - ((bytes[at + 1] >> 1) & 3);
  const rateIndex = (bytes[at + 2] >> 2) & 3;
  const bitRateIndex = bytes[at + 2] >> 4;
  if (version === 1 || layer === 4 || rateIndex === 3 || bitRateIndex === 0 || bitRateIndex === 15)
    return undefined;
  const sampleRate = baseRates[rateIndex] >> (version === 3 ? 0 : version === 2 ? 1 : 2);
  const bitRate = 1000 * bitRates[version === 3 ? layer - 1 : layer === 1 ? 3 : 4][bitRateIndex];
  const padding = (bytes[at + 2] >> 1) & 1;
  const samples = layer === 1 ? 384 : layer === 2 || version === 3 ? 1152 : 576;
  const slot = layer === 1 ? 4 : 1;
  return {
    bytes: (Math.floor((samples * bitRate) / (8 * slot * sampleRate)) + padding) * slot,
    samples,
    sampleRate,
    channels: bytes[at + 3] >> 6 === 3 ? 1 : 2,
    kind: ((bytes[at + 1] & 0x1e) << 8) | (bytes[at + 2] & 0x0c),
  };
}

/** True where an MPEG audio stream begins: a frame header with a second of its kind right behind the frame, or the end. */
export function isMp3(source: ByteSource): boolean {
  const at = skipId3(source);
  const head = source.read(at, at + 4);
  const first = mp3Header(head, 0);
  if (!first) return false;
  const next = source.read(at + first.bytes, at + first.bytes + 4);
  return next.length < 4 || isTail(next, 0) || mp3Header(next, 0)?.kind === first.kind;
}

interface Mp3Stream {
  /** Byte range of the frames. */
  begin: number;
  end: number;
  /** Hz */
  sampleRate: number;
  channels: number;
  /** Samples per channel, without the encoder's delay and padding. */
  samples: number;
}

/** Walks all frames: a file that is cut or damaged between frames is noticed before anything is decoded. */
export function walkMp3(bytes: Uint8Array, begin: number, name: string): Mp3Stream {
  const first = mp3Header(bytes, begin);
  if (!first) refuse(name, "the MP3 file has no first frame; it is damaged");
  const info = infoFrame(bytes, begin, first);
  const seconds = (frames: number) => (frames * first.samples) / first.sampleRate;
  const place = () => `after ${seconds(frames).toFixed(3)} s`;
  let at = begin;
  let frames = info ? -1 : 0; // the Info frame itself carries no audio
  while (at < bytes.length && !isTail(bytes, at)) {
    const header = mp3Header(bytes, at);
    if (!header) refuse(name, `the MP3 data is damaged ${place()} (byte ${at})`);
    if (header.kind !== first.kind)
      refuse(name, `the MP3 stream changes its format ${place()}; such files are not supported`);
    if (at + header.bytes > bytes.length)
      refuse(name, `the file is cut short: its last MP3 frame, ${place()}, is not whole`);
    at += header.bytes;
    frames++;
  }
  if (info && frames < info.frames) refuseShort(name, seconds(info.frames), seconds(frames));
  const samples = Math.max(0, frames * first.samples - (info?.trimmed ?? 0));
  if (samples === 0) refuse(name, "the MP3 file holds no audio");
  return { begin, end: at, sampleRate: first.sampleRate, channels: first.channels, samples };
}

/**
 * The Xing or Info header that encoders write into the first frame, behind its side information: the number of frames,
 * and in LAME's extension (gabriel.mp3-tech.org/mp3infotag.html) how many samples of delay and padding to drop.
 */
function infoFrame(bytes: Uint8Array, begin: number, { samples, channels }: FrameHeader) {
  const sideInfo = samples === 1152 ? (channels === 1 ? 17 : 32) : channels === 1 ? 9 : 17;
  const at = begin + 4 + sideInfo;
  const mark = String.fromCharCode(...bytes.subarray(at, at + 4));
  if ((mark !== "Xing" && mark !== "Info") || at + 12 > bytes.length || !(bytes[at + 7] & 1))
    return undefined;
  const frames = new DataView(bytes.buffer, bytes.byteOffset).getUint32(at + 8);
  const extended = (bytes[at + 7] & 15) === 15 && bytes[at + 120] !== 0 && at + 144 <= bytes.length;
  const [a, b, c] = extended ? bytes.subarray(at + 141, at + 144) : [0, 0, 0];
  return { frames, trimmed: ((a << 4) | (b >> 4)) + (((b & 15) << 8) | c) };
}

/** What may follow the last frame: ID3v1, APE and Lyrics3 tags, or zeros. */
function isTail(bytes: Uint8Array, at: number): boolean {
  const mark = String.fromCharCode(...bytes.subarray(at, at + 3));
  if (["TAG", "APE", "LYR", "ID3"].includes(mark)) return true;
  for (let i = at; i < bytes.length; i++) if (bytes[i] !== 0) return false;
  return true;
}

/** Bytes of a turn, less than the decoder package's own buffer. */
const turn = 1 << 14;

/** Decodes an MP3 (MPEG layer I, II or III) file; the encoder's delay and padding are cut off as its LAME header says. */
export async function decodeMp3(source: ByteSource, name: string, selection: Selection): Promise<Audio> {
  const bytes = source.read(0, source.size);
  const { begin, end, sampleRate, channels, samples } = walkMp3(bytes, skipId3(source), name);
  // What the header calls delay and padding may come all the same.
  const most = samples + 2 ** 13;
  const collector = new Collector({ channels, channel: selection.channel, start: 0, end: most }, name);
  const decoder = new MPEGDecoder();
  await decoder.ready;
  try {
    for (let at = begin; at < end; at += turn) {
      const piece = bytes.subarray(at, Math.min(end, at + turn));
      const { channelData } = await quietly(name, "MP3", () => decoder.decode(piece));
      // The package always gives two channels.
      collector.add(channelData.slice(0, channels));
    }
  } finally {
    release(decoder);
  }
  const decoded = Math.min(most, collector.received);
  // The first frames may refer to bits that an editor has cut off, and are then skipped.
  if (decoded < samples - 4 * 1152)
    refuse(name, `only ${decoded} of ${samples} samples could be decoded; the MP3 data is damaged`);
  const [first, last] = segmentSamples(decoded, sampleRate, selection, name);
  return { samples: collector.samples.slice(first, last), sampleRate, channels };
}
