import { readAudio } from "../audio/file.ts";
import { quote, UserError } from "../errors.ts";
import type { Utterance } from "./manifest.ts";

export interface LoadOptions {
  /** Hz that every utterance is brought to. */
  sampleRate: number;
  /** Refuse recordings of another rate instead of resampling them (default false). */
  refuseOtherRates?: boolean;
  /** A channel counted from 0, or the mean of all (default). */
  channel?: number | "mix";
  /** Zero mean and unit variance for each utterance, as wav2vec 2.0 "large" models and XLS-R expect (default false). */
  normalize?: boolean;
}

/** What `loadUtterance` needs of an utterance; small, since it travels to worker threads. */
export type Recording = Pick<Utterance, "id" | "audio" | "start" | "end">;

/**
 * Samples of one utterance at the wanted rate [samples].
 *
 * @throws UserError naming utterance and file.
 */
export async function loadUtterance(recording: Recording, options: LoadOptions): Promise<Float32Array> {
  const { id, audio: path, start, end } = recording;
  const { sampleRate, channel, refuseOtherRates = false, normalize = false } = options;
  const segment = { channel, startSeconds: start, endSeconds: end };
  let samples: Float32Array;
  try {
    const audio = await readAudio(path, refuseOtherRates ? segment : { ...segment, sampleRate });
    if (audio.sampleRate !== sampleRate) {
      throw new UserError(
        `${path}: its sample rate is ${audio.sampleRate} Hz, but only ${sampleRate} Hz is accepted`,
      );
    }
    samples = audio.samples;
  } catch (error) {
    if (error instanceof UserError) throw new UserError(`utterance ${quote(id)}: ${error.message}`);
    throw error;
  }
  return normalize ? normalizeSamples(samples) : samples;
}

/** Zero mean, unit variance: (x - mean) / sqrt(variance + 1e-7), Hugging Face's feature extractor's formula. */
export function normalizeSamples(samples: Float32Array): Float32Array {
  let sum = 0;
  for (const x of samples) sum += x;
  const mean = sum / Math.max(1, samples.length);
  let squares = 0;
  for (const x of samples) squares += (x - mean) ** 2;
  const scale = 1 / Math.sqrt(squares / Math.max(1, samples.length) + 1e-7);
  return samples.map((x) => (x - mean) * scale);
}
