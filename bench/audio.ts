import { readFileSync } from "node:fs";
import { join } from "node:path";
import { decodeAudio, encodeWav, probeAudio } from "../src/audio/decode.ts";
import { kaldiFbank } from "../src/audio/kaldi.ts";
import { mp3Header } from "../src/audio/mp3.ts";
import { pageCrc } from "../src/audio/ogg.ts";
import { resample } from "../src/audio/resample.ts";
import { logMel, mfcc } from "../src/audio/spectra.ts";
import { random } from "../src/random.ts";
import type { BenchOptions } from "./options.ts";

/** Seconds of audio in each recording. */
const seconds = 60;
const rounds = 15;
/** What the trainer feeds to models. */
const targetRate = 16000;

/**
 * Times decoding + resampling to 16 kHz of every format and the common spectra, on one thread: medians over 60 s of audio
 * and how many times faster than real time that and the fastest round are. `json`: one object a line.
 */
export async function benchAudio({ json }: BenchOptions): Promise<void> {
  const noise = (rate: number) => {
    const stream = random("bench", rate);
    return Float32Array.from({ length: seconds * rate }, () => 0.2 * stream.normal());
  };
  const recordings: [string, Uint8Array][] = [
    ["wav 16 kHz", encodeWav(noise(16000), 16000)],
    ["wav 8 kHz", encodeWav(noise(8000), 8000)],
    ["wav 44.1 kHz", encodeWav(noise(44100), 44100)],
    ["wav 48 kHz float", encodeWav(noise(48000), 48000, "float32")],
    ["flac 16 kHz", repeatFlac("mono16.flac")],
    ["flac 44.1 kHz stereo 24 bit", repeatFlac("stereo24.flac")],
    ["mp3 16 kHz", repeatMp3("mono.mp3")],
    ["mp3 48 kHz", repeatMp3("mono48.mp3")],
    ["mp3 44.1 kHz stereo", repeatMp3("stereo.mp3")],
    ["vorbis 16 kHz", repeatOgg("mono.ogg")],
    ["vorbis 44.1 kHz stereo", repeatOgg("stereo.ogg")],
    ["opus 48 kHz", repeatOgg("mono.opus")],
  ];
  for (const [name, bytes] of recordings)
    await time(`decode + resample, ${name}`, json, async () => {
      const audio = await decodeAudio(bytes);
      return resample(audio.samples, audio.sampleRate, targetRate).length / targetRate;
    });
  const speech = noise(targetRate);
  const spectra: [string, () => unknown][] = [
    ["log mel, 80 bands", () => logMel(speech, targetRate)],
    ["MFCC, 40 bands", () => mfcc(speech, targetRate)],
    ["Kaldi fbank, 80 bands", () => kaldiFbank(speech, targetRate, { bands: 80 })],
  ];
  for (const [name, run] of spectra)
    await time(name, json, async () => {
      run();
      return seconds;
    });
}

/** Runs `work` once to warm up, then `rounds` times; it returns the seconds of audio that it went through. */
async function time(name: string, json: boolean, work: () => Promise<number>): Promise<void> {
  const audioSeconds = await work();
  const walls: number[] = [];
  const cpus: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const start = performance.now();
    const before = process.cpuUsage();
    await work();
    const { user, system } = process.cpuUsage(before);
    walls.push(performance.now() - start);
    cpus.push((user + system) / 1000);
  }
  const ordered = [walls, cpus].map((times) => times.sort((a, b) => a - b));
  const [medianMs, cpuMs] = ordered.map((times) => times[rounds >> 1]);
  const fastestMs = ordered[1][0];
  // One core's work: the processor time is what counts when other programs share the machine. The fastest round is the one
  // that the machine's other users kept out of the caches least.
  const timesReal = (ms: number) => (1000 * audioSeconds) / ms;
  const [realTime, best] = [timesReal(cpuMs), timesReal(fastestMs)];
  if (json) console.log(JSON.stringify({ name, medianMs, cpuMs, fastestMs, audioSeconds, realTime, best }));
  else {
    const ms = (x: number) => `${x.toFixed(1).padStart(8)} ms`;
    console.log(
      `${name.padEnd(48)} ${ms(medianMs)} ${ms(cpuMs)} CPU ${realTime.toFixed(0).padStart(6)} x real time (fastest round ${best.toFixed(0)})`,
    );
  }
}

// No encoder is among our dependencies, so long recordings are made of the short ones that the tests use.

const fixture = (name: string) =>
  new Uint8Array(readFileSync(join(import.meta.dirname, "..", "test", "fixtures", "audio", name)));

const join8 = (parts: Uint8Array[]) => new Uint8Array(Buffer.concat(parts));

/** The frames of a FLAC file again and again, its duration declared unknown. */
function repeatFlac(name: string): Uint8Array {
  const bytes = fixture(name);
  let offset = 4;
  for (let last = false; !last; ) {
    last = (bytes[offset] & 128) !== 0;
    offset += 4 + ((bytes[offset + 1] << 16) | (bytes[offset + 2] << 8) | bytes[offset + 3]);
  }
  const info = 8;
  const rate = (bytes[info + 10] << 12) | (bytes[info + 11] << 4) | (bytes[info + 12] >> 4);
  const samples = new DataView(bytes.buffer).getUint32(info + 14);
  bytes[info + 13] &= 0xf0;
  bytes.fill(0, info + 14, info + 18);
  const frames = bytes.subarray(offset);
  const times = Math.ceil((seconds * rate) / samples);
  return join8([bytes.subarray(0, offset), ...Array.from({ length: times }, () => frames)]);
}

/** The frames of an MP3 file again and again, without the Info frame. */
function repeatMp3(name: string): Uint8Array {
  const bytes = fixture(name);
  const info = mp3Header(bytes, 0) as Mp3Header;
  let frames = 0;
  for (let at = info.bytes; at < bytes.length; frames++) at += (mp3Header(bytes, at) as Mp3Header).bytes;
  const times = Math.ceil((seconds * info.sampleRate) / (info.samples * frames));
  return join8(Array.from({ length: times }, () => bytes.subarray(info.bytes)));
}

type Mp3Header = NonNullable<ReturnType<typeof mp3Header>>;

/** The last page of an Ogg file, which holds all its audio, again and again. */
function repeatOgg(name: string): Uint8Array {
  const bytes = fixture(name);
  const starts: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    starts.push(at);
    const laces = bytes.subarray(at + 27, at + 27 + bytes[at + 26]);
    at += 27 + laces.length + laces.reduce((sum, size) => sum + size, 0);
  }
  const begin = starts[starts.length - 1];
  const page = bytes.subarray(begin);
  const { samples, sampleRate } = probeAudio(bytes);
  const times = Math.ceil((seconds * sampleRate) / samples);
  const pages = Array.from({ length: times }, (_, i) => {
    const copy = page.slice();
    const view = new DataView(copy.buffer);
    copy[5] = i === times - 1 ? 4 : 0; // the flag of the last page
    view.setUint32(6, (i + 1) * samples, true);
    view.setUint32(18, starts.length - 1 + i, true);
    view.setUint32(22, pageCrc(copy, 0, copy.length), true);
    return copy;
  });
  return join8([bytes.subarray(0, begin), ...pages]);
}
