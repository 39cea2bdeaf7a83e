import { UserError } from "../errors.ts";

/** Random access to the bytes of a recording: a buffer in memory or an open file. */
export interface ByteSource {
  /** All bytes there are. */
  readonly size: number;
  /** Bytes `start` to `end` (clipped to `size`). */
  read(start: number, end: number): Uint8Array;
}

export const memorySource = (bytes: Uint8Array): ByteSource => ({
  size: bytes.length,
  read: (start, end) => bytes.subarray(start, Math.min(end, bytes.length)),
});

export type PcmEncoding = "u8" | "s8" | "s16" | "s24" | "s32" | "f32" | "f64" | "alaw" | "ulaw";

/** Bytes of one sample. */
export const bytesPer: Record<PcmEncoding, number> = {
  u8: 1,
  s8: 1,
  s16: 2,
  s24: 3,
  s32: 4,
  f32: 4,
  f64: 8,
  alaw: 1,
  ulaw: 1,
};

/** Where and how a container (WAV, SPHERE) keeps its uncompressed samples. */
export interface PcmLayout {
  encoding: PcmEncoding;
  littleEndian: boolean;
  channels: number;
  /** Hz */
  sampleRate: number;
  /** Byte offset of the first sample. */
  offset: number;
  /** Samples per channel. */
  samples: number;
}

/** Which channel of a recording to take, counted from 0, or the mean of all. */
export type ChannelChoice = number | "mix";

/** A recording, or the segment of it that was asked for. */
export interface Audio {
  /** One channel, or the mean of all [samples], mostly within [-1, 1]. */
  samples: Float32Array;
  /** Hz */
  sampleRate: number;
  /** Channels of the recording itself. */
  channels: number;
}

/** A stretch of a recording. */
export interface Segment {
  startSeconds?: number;
  endSeconds?: number;
}

/** What is wanted of a recording. */
export interface Selection extends Segment {
  /** A channel counted from 0, or "mix": the mean of all. */
  channel: ChannelChoice;
}

/** Sentences are "NAME: what is wrong"; every decoder refuses bad input by this one function. */
export function refuse(name: string, what: string): never {
  throw new UserError(`${name}: ${what}`);
}

/** Refuses a file that ends before its header says it does. */
export function refuseShort(name: string, promisedSeconds: number, presentSeconds: number): never {
  const seconds = (x: number) => `${Math.max(0, x).toFixed(3)} s`;
  refuse(
    name,
    `the file is cut short: its header promises ${seconds(promisedSeconds)} of audio, ${seconds(presentSeconds)} are there`,
  );
}

/** A segment may end this many seconds after the recording does: manifests round their times. */
const overrun = 0.1;

/** Turns times into sample indices [start, end) of a recording, or refuses times outside it. */
export function segmentSamples(
  samples: number,
  sampleRate: number,
  segment: Segment,
  name: string,
): [start: number, end: number] {
  const seconds = samples / sampleRate;
  const from = segment.startSeconds ?? 0;
  const to = segment.endSeconds ?? seconds;
  if (!(from >= 0 && to > from && Number.isFinite(to)))
    refuse(name, `a segment from ${from} s to ${to} s is not a stretch of time; 0 <= start < end is needed`);
  const start = Math.round(from * sampleRate);
  if (start >= samples || to > seconds + overrun)
    refuse(
      name,
      `the segment ${from} s to ${to} s lies outside the recording, which lasts ${seconds.toFixed(3)} s`,
    );
  const end = Math.min(samples, Math.round(to * sampleRate));
  if (end <= start) refuse(name, `the segment ${from} s to ${to} s holds no sample at ${sampleRate} Hz`);
  return [start, end];
}

/** Refuses a channel that a recording does not have. */
export function checkChannel(channel: ChannelChoice, channels: number, name: string): void {
  if (channel === "mix" || (Number.isInteger(channel) && channel >= 0 && channel < channels)) return;
  const known = channels === 1 ? "only channel 0" : `channels 0 to ${channels - 1}`;
  refuse(name, `there is no channel ${channel}; the recording has ${known}`);
}

/** Refuses rates and channel counts that only a damaged header states. */
export function checkFormat(sampleRate: number, channels: number, name: string): void {
  if (!(sampleRate >= 100 && sampleRate <= 1_000_000))
    refuse(name, `its header states a sample rate of ${sampleRate} Hz; the file is damaged`);
  if (!(channels >= 1 && channels <= 1024))
    refuse(name, `its header states ${channels} channels; the file is damaged`);
}

/**
 * Reads samples [start, end) of one channel (or the mean of all) as floats in [-1, 1), scaled as libsndfile does:
 * n-bit integers by 2^-(n-1).
 */
export function readPcm(
  source: ByteSource,
  layout: PcmLayout,
  channel: ChannelChoice,
  [start, end]: [number, number],
): Float32Array {
  const stride = bytesPer[layout.encoding] * layout.channels;
  const bytes = source.read(layout.offset + start * stride, layout.offset + end * stride);
  const wanted = channel === "mix" ? Array.from({ length: layout.channels }, (_, c) => c) : [channel];
  return mix(wanted.map((c) => readChannel(bytes, layout, c)));
}

function readChannel(
  bytes: Uint8Array,
  { encoding, littleEndian, channels }: PcmLayout,
  channel: number,
): Float32Array {
  const width = bytesPer[encoding];
  const stride = width * channels;
  const out = new Float32Array(Math.floor(bytes.length / stride));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let p = channel * width;
  switch (encoding) {
    case "u8":
      for (let i = 0; i < out.length; i++, p += stride) out[i] = (bytes[p] - 128) / 128;
      break;
    case "s8":
      for (let i = 0; i < out.length; i++, p += stride) out[i] = view.getInt8(p) / 128;
      break;
    case "s16":
      for (let i = 0; i < out.length; i++, p += stride) out[i] = view.getInt16(p, littleEndian) / 32768;
      break;
    case "s24": {
      const [high, low] = littleEndian ? [2, 0] : [0, 2];
      for (let i = 0; i < out.length; i++, p += stride)
        out[i] = ((bytes[p + high] << 24) | (bytes[p + 1] << 16) | (bytes[p + low] << 8)) / 2147483648;
      break;
    }
    case "s32":
      for (let i = 0; i < out.length; i++, p += stride) out[i] = view.getInt32(p, littleEndian) / 2147483648;
      break;
    case "f32":
      for (let i = 0; i < out.length; i++, p += stride) out[i] = view.getFloat32(p, littleEndian);
      break;
    case "f64":
      for (let i = 0; i < out.length; i++, p += stride) out[i] = view.getFloat64(p, littleEndian);
      break;
    default: {
      const table = encoding === "alaw" ? alaw : ulaw;
      for (let i = 0; i < out.length; i++, p += stride) out[i] = table[bytes[p]];
    }
  }
  return out;
}

// ITU-T G.711, expanded to 16 bits: sign, 3 bits of exponent, 4 of mantissa.
const alaw = Float32Array.from({ length: 256 }, (_, code) => {
  const bits = code ^ 0x55;
  const exponent = (bits >> 4) & 7;
  const mantissa = ((bits & 15) << 4) + 8;
  const magnitude = exponent === 0 ? mantissa : (mantissa + 256) << (exponent - 1);
  return (bits & 0x80 ? magnitude : -magnitude) / 32768;
});

const ulaw = Float32Array.from({ length: 256 }, (_, code) => {
  const bits = ~code & 255;
  const magnitude = ((((bits & 15) << 3) + 132) << ((bits >> 4) & 7)) - 132;
  return (bits & 0x80 ? -magnitude : magnitude) / 32768;
});

/** The mean of channels of one length; of a single channel, that channel itself. */
const mix = (channels: readonly Float32Array[]): Float32Array =>
  channels.length === 1 ? channels[0] : mixInto(new Float32Array(channels[0].length), channels);

/** Writes the mean of channels of one length into `out` of that length. */
export function mixInto(out: Float32Array, channels: readonly Float32Array[]): Float32Array {
  if (channels.length === 1) out.set(channels[0]);
  else if (channels.length === 2) {
    // Four times as quick as the loop over channels.
    const [left, right] = channels;
    for (let i = 0; i < out.length; i++) out[i] = (left[i] + right[i]) / 2;
  } else
    for (let i = 0; i < out.length; i++) {
      let sum = 0;
      for (let c = 0; c < channels.length; c++) sum += channels[c][i];
      out[i] = sum / channels.length;
    }
  return out;
}

/** Refuses NaN and infinite samples, naming the first. */
export function checkFinite(samples: Float32Array, name: string): void {
  // A sum is NaN or infinite if any term is (float64 cannot overflow by float32 terms), and is quick to take.
  // Four sums, because one would wait for each addition.
  let [a, b, c, d] = [0, 0, 0, 0];
  const whole = samples.length & ~3;
  for (let i = 0; i < whole; i += 4) {
    a += samples[i];
    b += samples[i + 1];
    c += samples[i + 2];
    d += samples[i + 3];
  }
  for (let i = whole; i < samples.length; i++) a += samples[i];
  if (Number.isFinite(a + b + c + d)) return;
  const at = samples.findIndex((x) => !Number.isFinite(x));
  refuse(name, `sample ${at} is ${samples[at]}; audio must be finite numbers`);
}
