import { writeFileSync } from "node:fs";
import { encodeWav } from "../audio/decode.ts";
import { resample } from "../audio/resample.ts";
import type { Phone } from "./manifest.ts";
import { type SpeechProfile, simulateSpeech } from "./severity.ts";
import { type Speech, type SpeechRequest, synthesize } from "./synthesis.ts";

/** One utterance of a synthetic corpus, as a worker thread gets it. */
export interface SpokenTask {
  request: SpeechRequest;
  /** Hz of the file */
  sampleRate: number;
  path: string;
  /** Changes by the simulator of graded speech, where wanted. */
  profile?: SpeechProfile;
  seed: string;
}

/** What its manifest line says of it; times in seconds. */
export interface SpokenUtterance {
  duration: number;
  phones: Phone[];
  words: Speech["words"];
}

/** Speaks, changes and writes one utterance. */
export async function synthesizeUtterance(task: SpokenTask): Promise<SpokenUtterance> {
  const { sampleRate, profile } = task;
  const speech = await synthesize(task.request);
  const plain = resample(speech.samples, speech.sampleRate, sampleRate);
  const { samples, timeOf } =
    profile === undefined
      ? { samples: plain, timeOf: (seconds: number) => seconds }
      : simulateSpeech(plain, sampleRate, profile, task.seed);
  const peak = samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  // Headroom, since 16-bit files clip at 1.
  const scale = Math.min(1, 0.95 / (peak || 1));
  writeFileSync(
    task.path,
    encodeWav(
      samples.map((x) => x * scale),
      sampleRate,
    ),
  );
  const time = (seconds: number) => Math.round(timeOf(seconds) * 1e4) / 1e4;
  return {
    duration: samples.length / sampleRate,
    phones: speech.phones.map(({ phone, start, end }) => ({ phone, start: time(start), end: time(end) })),
    words: speech.words.map(({ word, start, end }) => ({ word, start: time(start), end: time(end) })),
  };
}
