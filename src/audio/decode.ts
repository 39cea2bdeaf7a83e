import { skipId3 } from "./container.ts";
import { decodeFlac, decodeIndexed, indexFlac, isFlac, probeFlac } from "./flac.ts";
import { decodeMp3, isMp3, walkMp3 } from "./mp3.ts";
import { decodeOgg, isOgg, walkOgg } from "./ogg.ts";
import {
  type Audio,
  type ByteSource,
  type ChannelChoice,
  checkChannel,
  checkFinite,
  memorySource,
  readPcm,
  refuse,
  type Segment,
  segmentSamples,
} from "./pcm.ts";
import { isSphere, parseSphere } from "./sphere.ts";
import { isWav, parseWav } from "./wav.ts";

export type { Audio, ByteSource, ChannelChoice } from "./pcm.ts";
export { encodeWav } from "./wav.ts";

export interface DecodeOptions extends Segment {
  /** What to call the recording in error sentences, usually its path. */
  name?: string;
  /** A channel counted from 0, or "mix" (default): the mean of all. */
  channel?: ChannelChoice;
}

/** Decodes a recording in memory; its format is told by its content, never by its name. */
export function decodeAudio(bytes: Uint8Array, options: DecodeOptions = {}): Promise<Audio> {
  return decodeSource(memorySource(bytes), options);
}

/**
 * Decodes a recording. Of WAV and SPHERE files only the bytes of the segment are read; of FLAC files only its frames
 * are decoded. Throws a UserError of one sentence for anything that is not whole, finite audio.
 */
export async function decodeSource(source: ByteSource, options: DecodeOptions = {}): Promise<Audio> {
  const { name = "audio", channel = "mix" } = options;
  const format = sniff(source, name);
  let audio: Audio;
  if (format === "wav" || format === "sphere") {
    const layout = format === "wav" ? parseWav(source, name) : parseSphere(source, name);
    checkChannel(channel, layout.channels, name);
    const range = segmentSamples(layout.samples, layout.sampleRate, options, name);
    const { sampleRate, channels } = layout;
    audio = { samples: readPcm(source, layout, channel, range), sampleRate, channels };
  } else audio = await decoders[format](source, name, { ...options, channel });
  checkFinite(audio.samples, name);
  return audio;
}

/** A recording of which any stretch can be had, mixed to one channel. */
export interface Stretches {
  /** Hz */
  readonly sampleRate: number;
  readonly samples: number;
  /** Samples [start, end), within the recording. */
  read(start: number, end: number): Promise<Float32Array>;
}

/**
 * Opens a recording for reading stretch by stretch. WAV, SPHERE and FLAC give each stretch by itself; MP3 and Ogg are decoded
 * whole at once and kept as one channel.
 */
export async function openStretches(source: ByteSource, name: string): Promise<Stretches> {
  const format = sniff(source, name);
  const finite = (samples: Float32Array) => {
    checkFinite(samples, name);
    return samples;
  };
  if (format === "wav" || format === "sphere") {
    const layout = format === "wav" ? parseWav(source, name) : parseSphere(source, name);
    const { sampleRate, samples } = layout;
    const read = async (start: number, end: number) => finite(readPcm(source, layout, "mix", [start, end]));
    return { sampleRate, samples, read };
  }
  if (format === "flac") {
    const index = indexFlac(source, name);
    const { sampleRate, samples } = index;
    const read = async (start: number, end: number) =>
      finite(await decodeIndexed(source, index, name, { channel: "mix", start, end }));
    return { sampleRate, samples, read };
  }
  const { samples: all, sampleRate } = await decodeSource(source, { name });
  return { sampleRate, samples: all.length, read: async (start, end) => all.slice(start, end) };
}

const decoders = { flac: decodeFlac, mp3: decodeMp3, ogg: decodeOgg };

export interface AudioInfo {
  format: "wav" | "sphere" | keyof typeof decoders;
  /** Hz */
  sampleRate: number;
  channels: number;
  /** Samples per channel. */
  samples: number;
  seconds: number;
}

/**
 * Rate, channels and duration without decoding: from the header of WAV, SPHERE and FLAC files, from the frames' or pages'
 * headers of MP3 and Ogg files. Damage that only decoding would show goes unnoticed.
 */
export function probeAudio(bytes: Uint8Array, name = "audio"): AudioInfo {
  return probeSource(memorySource(bytes), name);
}

/** As `probeAudio`, reading only what it needs. */
export function probeSource(source: ByteSource, name: string): AudioInfo {
  const format = sniff(source, name);
  const { sampleRate, channels, samples } = headers[format](source, name);
  return { format, sampleRate, channels, samples, seconds: samples / sampleRate };
}

const headers = {
  wav: parseWav,
  sphere: parseSphere,
  flac: probeFlac,
  mp3: (source: ByteSource, name: string) => walkMp3(source.read(0, source.size), skipId3(source), name),
  ogg: (source: ByteSource, name: string) => walkOgg(source.read(0, source.size), name),
};

function sniff(source: ByteSource, name: string): AudioInfo["format"] {
  if (source.size === 0) refuse(name, "the file is empty");
  const head = source.read(0, 16);
  if (isWav(head)) return "wav";
  if (isSphere(head)) return "sphere";
  if (isOgg(head)) return "ogg";
  if (isFlac(source)) return "flac";
  if (isMp3(source)) return "mp3";
  const known = "a WAV, SPHERE, FLAC, MP3, Ogg Vorbis or Opus file";
  const start = Array.from(head, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const other = others.find(([pattern]) => pattern.test(start));
  refuse(name, other ? `this is ${other[1]}; convert it to ${known} first` : `this is not ${known}`);
}

/** Formats that people have and that are worth naming when they are refused, by their first bytes in hexadecimal. */
const others: [RegExp, string][] = [
  [/^.{8}66747970/, "an MP4 or M4A file"],
  [/^1a45dfa3/, "a Matroska or WebM file"],
  [/^464f524d.{8}414946/, "an AIFF file"],
  [/^2e736e64/, "a Sun AU file"],
  [/^63616666/, "a Core Audio file"],
  [/^2321414d52/, "an AMR file"],
  [/^3026b275/, "a Windows Media file"],
  [/^fff[0189]/, "an AAC stream"],
  [/^5249464[68]/, "a RIFF file without audio, or one cut off in its header"],
  [/^(504b0304|1f8b|425a68|fd377a58)/, "a compressed archive"],
];
