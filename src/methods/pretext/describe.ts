import { pretextLabels } from "../../audio/acoustics/pretext.ts";
import { logMel } from "../../audio/spectra.ts";
import { loadUtterance, type Recording } from "../../corpus/load-audio.ts";
import { UserError } from "../../errors.ts";
import { type CandidateName, isSpectral, spectralFrames } from "./candidates.ts";
import { Downsampler, toUnitLength } from "./downsampling.ts";

/** What of one recording is wanted, as a worker thread gets it. */
export interface DescribeTask {
  readonly recording: Recording;
  /** Seconds from the recording's start; a whole recording where absent. */
  readonly units: readonly { readonly start?: number; readonly end?: number }[];
  readonly candidates: readonly CandidateName[];
  /** Bands of the spectrogram that stands for the data. */
  readonly mels: number;
  /** Frames that sequences are brought to. */
  readonly frames: number;
}

/** Of each unit: its downsampled spectrogram, and each candidate's mean or downsampled sequence; sequences of unit length. */
export interface Description {
  /** [units, frames * mels] */
  readonly data: Float32Array;
  /** By candidate: [units], or [units, frames * dim]. */
  readonly candidates: readonly Float32Array[];
}

const RATE = 16_000;
const downsamplers = new Map<number, Downsampler>();

/** Describes the units of one recording, at 16 kHz. @throws UserError naming utterance and file */
export async function describeUnits(task: DescribeTask): Promise<Description> {
  const { recording, units, candidates, mels, frames } = task;
  const samples = await loadUtterance(recording, { sampleRate: RATE });
  const seconds = samples.length / RATE;
  const behind = units.find(({ start = 0 }) => start >= seconds);
  if (behind !== undefined)
    throw new UserError(
      `utterance "${recording.id}": a unit starts at ${behind.start} s, and the recording has ${seconds.toFixed(2)} s`,
    );
  try {
    return describeSamples(samples, { units, candidates, mels, frames });
  } catch (error) {
    if (error instanceof UserError) throw new UserError(`utterance "${recording.id}": ${error.message}`);
    throw error;
  }
}

/** The same of samples at 16 kHz. */
export function describeSamples(
  samples: Float32Array,
  { units, candidates, mels, frames }: Omit<DescribeTask, "recording">,
): Description {
  const downsampler = downsamplers.get(frames) ?? new Downsampler(frames);
  downsamplers.set(frames, downsampler);
  const spectrogram = logMel(samples, RATE, { bands: mels, fftSize: 512, windowSize: 400 });
  const ranges = units.map(({ start = 0, end }): [number, number] => {
    const from = Math.min(Math.trunc(100 * start), spectrogram.frames - 1);
    const to = end === undefined ? spectrogram.frames : Math.min(Math.trunc(100 * end), spectrogram.frames);
    return [from, Math.max(to, from + 1)];
  });
  const sequences = (matrix: typeof spectrogram): Float32Array => {
    const out = new Float32Array(units.length * frames * matrix.dim);
    for (const [u, [from, to]] of ranges.entries()) {
      const last = Math.min(to, matrix.frames);
      const first = Math.min(from, last - 1);
      out.set(toUnitLength(downsampler.apply(matrix, first, last)), u * frames * matrix.dim);
    }
    return out;
  };
  const wantsLabels = candidates.some((name) => !isSpectral(name));
  const labels = wantsLabels ? pretextLabels(samples, RATE) : undefined;
  return {
    data: sequences(spectrogram),
    candidates: candidates.map((name) => {
      if (isSpectral(name)) return sequences(spectralFrames(name, samples, RATE));
      const { names, frames: table } = labels!;
      const column = names.indexOf(name);
      return Float32Array.from(ranges, ([from, to]) => {
        const last = Math.min(to, table.length);
        const first = Math.min(from, last - 1);
        let sum = 0;
        for (let t = first; t < last; t++) sum += table[t][column];
        return sum / (last - first);
      });
    }),
  };
}
