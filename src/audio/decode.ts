import { skipId3 } from "./container.ts";
import { decodeFlac } from "./flac.ts";
import { decodeMp3, isMp3 } from "./mp3.ts";
import { decodeOgg, isOgg } from "./ogg.ts";
import {
  type ByteSource,
  type ChannelChoice,
  checkChannel,
  checkFinite,
  memorySource,
  mix,
  readPcm,
  refuse,
  type Segment,
  segmentSamples,
} from "./pcm.ts";
import { isSphere, parseSphere } from "./sphere.ts";
import { isWav, parseWav } from "./wav.ts";

export type { ByteSource, ChannelChoice } from "./pcm.ts";
export { encodeWav } from "./wav.ts";

export interface Audio {
  /** One channel, or the mean of all [samples], mostly within [-1, 1]. */
  samples: Float32Array;
  /** Hz */
  sampleRate: number;
  /** Channels of the recording itself. */
  channels: number;
}

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
    audio = {
      samples: readPcm(source, layout, channel, range),
      sampleRate: layout.sampleRate,
      channels: layout.channels,
    };
  } else {
    const { channelData, sampleRate } = await decoders[format](source, name, options);
    checkChannel(channel, channelData.length, name);
    audio = {
      samples: mix(channel === "mix" ? channelData : [channelData[channel]]),
      sampleRate,
      channels: channelData.length,
    };
  }
  checkFinite(audio.samples, name);
  return audio;
}

const decoders = { flac: decodeFlac, mp3: decodeMp3, ogg: decodeOgg };

type Format = "wav" | "sphere" | keyof typeof decoders;

function sniff(source: ByteSource, name: string): Format {
  if (source.size === 0) refuse(name, "the file is empty");
  const head = source.read(0, 16);
  if (isWav(head)) return "wav";
  if (isSphere(head)) return "sphere";
  const skipped = skipId3(source);
  const mark = String.fromCharCode(...source.read(skipped, skipped + 4));
  if (mark === "fLaC") return "flac";
  if (isOgg(head)) return "ogg";
  if (isMp3(source)) return "mp3";
  refuse(name, "this is not a WAV, SPHERE, FLAC, MP3, Ogg Vorbis or Opus file");
}
