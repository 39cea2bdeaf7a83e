import { speechActivity } from "../../../audio/acoustics/clinical/pauses.ts";
import { percentile } from "../../../audio/acoustics/functionals.ts";

/** What of a recording decides whether it can be graded at all. */
export interface Quality {
  readonly seconds: number;
  /** Seconds in which the level is within 25 dB of the loudest. */
  readonly speechSeconds: number;
  /** 95th minus 5th percentile of the level (64 ms windows), dB: how far speech stands above what is there between words. */
  readonly range: number;
  /** Share of samples in flat tops: three and more in a row at the greatest value. */
  readonly clipped: number;
  /** Greatest absolute value, full scale 1. */
  readonly peak: number;
}

/** Least speech, least range of levels, and most clipping that a recording may have to be graded. */
export const LIMITS = { speechSeconds: 0.5, range: 15, clipped: 0.001, peak: 0.001 } as const;

/** Measures a mono recording [samples], full scale 1. */
export function qualityOf(samples: Float32Array, sampleRate: number): Quality {
  const peak = samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  const { levels } = speechActivity(samples, sampleRate, () => true);
  const sorted = Float64Array.from(levels).sort();
  const loudest = percentile(sorted, 0.99);
  const speech = sorted.filter((level) => level > loudest - 25).length;
  return {
    seconds: samples.length / sampleRate,
    speechSeconds: peak < LIMITS.peak ? 0 : speech / 100,
    range: sorted.length === 0 ? 0 : percentile(sorted, 0.95) - percentile(sorted, 0.05),
    clipped: flatTops(samples, peak) / Math.max(1, samples.length),
    peak,
  };
}

/** Samples that stand at the peak (to within 16-bit rounding) three and more in a row, with one sign. */
function flatTops(samples: Float32Array, peak: number): number {
  const top = peak - 1.5 / 32768;
  let [count, run, sign] = [0, 0, 0];
  const close = () => {
    if (run >= 3) count += run;
    run = 0;
  };
  for (const x of samples) {
    if (Math.abs(x) < top || peak === 0) close();
    else if (Math.sign(x) === sign && run > 0) run++;
    else {
      close();
      run = 1;
      sign = Math.sign(x);
    }
  }
  close();
  return count;
}

/** Why a recording is not graded, a sentence each; none where it can be. */
export function faultsOf({ seconds, speechSeconds, range, clipped, peak }: Quality): string[] {
  const faults: string[] = [];
  if (peak < LIMITS.peak)
    faults.push(`it is silent: its greatest sample is ${peak.toFixed(5)} of full scale`);
  else if (speechSeconds < LIMITS.speechSeconds)
    faults.push(
      `it is too short: ${speechSeconds.toFixed(2)} s of speech in ${seconds.toFixed(2)} s, and at least ${LIMITS.speechSeconds} s are needed`,
    );
  if (peak >= LIMITS.peak && range < LIMITS.range)
    faults.push(
      `it is too noisy: speech stands ${range.toFixed(0)} dB above what is between words, and at least ${LIMITS.range} dB are needed`,
    );
  if (clipped > LIMITS.clipped)
    faults.push(
      `it is clipped: ${(100 * clipped).toFixed(2)} % of its samples are flat tops, and at most ${100 * LIMITS.clipped} % may be`,
    );
  return faults;
}
