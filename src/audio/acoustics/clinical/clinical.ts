import { requireFrame } from "../egemaps.ts";
import { frameStepSeconds, framing } from "../frames.ts";
import { deviation, mean, nonZero, percentile } from "../functionals.ts";
import { harmonicsToNoise } from "../harmonics.ts";
import { pitchFrameSeconds, pitchWindow, trackPitch } from "../pitch.ts";
import { voiceQuality } from "../voice-quality.ts";
import { speechActivity } from "./pauses.ts";
import { type PhoneInterval, phoneClassifier } from "./phones.ts";
import { pronunciation } from "./pronunciation.ts";
import { rhythm } from "./rhythm.ts";
import { type VowelFormantOptions, vowelFormants } from "./vowel-formants.ts";
import { vowelSpace } from "./vowel-space.ts";

export interface ClinicalInput extends VowelFormantOptions {
  /** Phones with times, given or from a forced alignment, for rhythm, rate and vowel space. */
  phones?: readonly PhoneInterval[];
  /** Phones that should have been spoken, and those recognised without knowing them. */
  canonical?: readonly string[];
  recognised?: readonly string[];
  /** What `measureVoice` found in the same samples, where that was called before. */
  voice?: Voice;
}

/** Names in the order of `clinicalFeatures`' result; units are in docs/features.md. */
export const clinicalNames = [
  "jitterLocal_percent",
  "shimmerLocal_percent",
  "hnr_dB",
  "voiceBreaks",
  "voiceBreaksDegree_percent",
  "f0Mean_Hz",
  "f0Stddev_Hz",
  "f0Median_Hz",
  "f0Min_Hz",
  "f0Max_Hz",
  "f0Range_semitones",
  "level_mean_dB",
  "level_stddev_dB",
  "level_range_dB",
  "duration_s",
  "speechRate_perSec",
  "articulationRate_perSec",
  "pauses",
  "pauseMean_s",
  "pauseShare_percent",
  "percentV",
  "deltaV",
  "deltaC",
  "varcoV",
  "varcoC",
  "rPviV",
  "rPviC",
  "nPviV",
  "nPviC",
  "pcc",
  "pcv",
  "pct",
  "vsa",
  "fcr",
  "vai",
  "f2Ratio",
] as const;
export type ClinicalFeatures = Record<(typeof clinicalNames)[number], number>;

/** Shortest silence of the voice that counts as a break: 1.25 periods of the lowest pitch sought (Praat's manual). */
const breakPeriods = 1.25;
/** A lag is a whole number of samples: what a cleaner voice would gain above this, in dB, is not measurable. */
const highestHnr = 40;
const minHz = 60;
const maxHz = 500;

/**
 * Hand-crafted features of dysarthric speech by family: voice quality, prosody, rhythm, pronunciation, vowel space (E. J.
 * Yeo et al., Interspeech 2021 and arXiv 2209.12942). A feature whose input is absent, or that is undefined for this
 * recording, is NaN. Without `phones` the rates count syllable nuclei found in the level contour, with them vowels.
 * Throws UserError for audio shorter than one 60 ms frame.
 */
export function clinicalFeatures(
  samples: Float32Array,
  sampleRate: number,
  input: ClinicalInput = {},
): ClinicalFeatures {
  requireFrame(samples.length, sampleRate);
  const phones = input.phones ?? [];
  const formants = phones.length > 0 ? vowelFormants(samples, sampleRate, phones, input) : [];
  const { features, nuclei, speaking } = input.voice ?? measureVoice(samples, sampleRate);
  const syllables = phones.length > 0 ? countVowels(phones) : nuclei;
  const found = {
    ...features,
    speechRate_perSec: syllables / features.duration_s,
    articulationRate_perSec: syllables / speaking,
    ...rhythm(phones),
    ...pronunciation(input.recognised ?? [], input.recognised ? (input.canonical ?? []) : []),
    ...vowelSpace(formants),
  };
  return Object.fromEntries(clinicalNames.map((name) => [name, found[name]])) as ClinicalFeatures;
}

/** What needs no phones: voice quality, and the prosody but for its rates. */
export type Voice = ReturnType<typeof measureVoice>;

/** Most of the work of `clinicalFeatures`, which can be done before phones are known. Throws as it does. */
export function measureVoice(samples: Float32Array, sampleRate: number) {
  requireFrame(samples.length, sampleRate);
  const noiseRatios: number[] = [];
  const frame = framing(sampleRate, pitchFrameSeconds);
  const toHnr = harmonicsToNoise(frame, pitchWindow(frame));
  const track = trackPitch(samples, sampleRate, { minHz, maxHz, lookAhead: 40 }, (_, hz, spectrum) => {
    noiseRatios.push(Math.min(highestHnr, toHnr(spectrum, hz)));
  });
  const quality = voiceQuality(samples, sampleRate, track.f0, track.frame, {
    searchRange: 0.25,
    minCorrelation: 0.5,
  });
  const f0 = Float64Array.from(nonZero(track.f0)).sort();
  const orNaN = (x: ArrayLike<number>, of: (x: ArrayLike<number>) => number) =>
    x.length > 0 ? of(x) : Number.NaN;
  // A frame of the pitch analysis starts at its index and lasts 60 ms: its centre is three frames on.
  const centre = Math.round(track.frame.size / track.frame.step / 2);
  const activity = speechActivity(samples, sampleRate, (t) => (track.f0[t - centre] ?? 0) > 0);
  const [first, end] = activity.speech;
  const levels = Float64Array.from(activity.levels.subarray(first, end)).sort();
  const pauses = activity.pauses.map(([from, to]) => (to - from) * frameStepSeconds);
  const pausing = pauses.reduce((sum, p) => sum + p, 0);
  const duration = (end - first) * frameStepSeconds;
  const features = {
    jitterLocal_percent: 100 * quality.overall.jitterLocal,
    shimmerLocal_percent: 100 * quality.overall.shimmerLocal,
    hnr_dB: orNaN(noiseRatios, mean),
    ...voiceBreaks(track.f0),
    f0Mean_Hz: orNaN(f0, mean),
    f0Stddev_Hz: orNaN(f0, deviation),
    f0Median_Hz: orNaN(f0, (x) => percentile(x, 0.5)),
    f0Min_Hz: orNaN(f0, (x) => x[0]),
    f0Max_Hz: orNaN(f0, (x) => x[x.length - 1]),
    f0Range_semitones: orNaN(f0, (x) => 12 * Math.log2(percentile(x, 0.95) / percentile(x, 0.05))),
    level_mean_dB: orNaN(levels, mean),
    level_stddev_dB: orNaN(levels, deviation),
    level_range_dB: orNaN(levels, (x) => percentile(x, 0.95) - percentile(x, 0.05)),
    duration_s: duration,
    pauses: pauses.length,
    pauseMean_s: orNaN(pauses, mean),
    pauseShare_percent: (100 * pausing) / duration,
  };
  return { features, nuclei: activity.nuclei.length, speaking: duration - pausing };
}

/** Number of breaks between voiced stretches, and their share of the time from the first voiced frame to the last. */
function voiceBreaks(f0: Float32Array): { voiceBreaks: number; voiceBreaksDegree_percent: number } {
  const shortest = breakPeriods / minHz;
  let last = -1;
  let first = -1;
  let count = 0;
  let broken = 0;
  for (let t = 0; t < f0.length; t++) {
    if (f0[t] === 0) continue;
    if (first < 0) first = t;
    else if ((t - last - 1) * frameStepSeconds >= shortest) {
      count++;
      broken += t - last - 1;
    }
    last = t;
  }
  return {
    voiceBreaks: first < 0 ? Number.NaN : count,
    voiceBreaksDegree_percent: first < 0 ? Number.NaN : (100 * broken) / (last - first + 1),
  };
}

function countVowels(phones: readonly PhoneInterval[]): number {
  const classOf = phoneClassifier(phones.map(({ label }) => label));
  return phones.filter(({ label }) => classOf(label) === "vowel").length;
}
