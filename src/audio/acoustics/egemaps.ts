import { UserError } from "../../errors.ts";
import { auditorySpectrum, bandCount, meanOf, melBands, melCepstrum } from "./auditory.ts";
import { egemapsFunctionals } from "./egemaps-functionals.ts";
import { formantTracker } from "./formants.ts";
import {
  eachSpectrum,
  type Framing,
  frameCount,
  frameStepSeconds,
  framing,
  hammingWindow,
} from "./frames.ts";
import { harmonicAnalyser, harmonicsToNoise, unvoicedLevel } from "./harmonics.ts";
import { pitchFrameSeconds, trackPitch } from "./pitch.ts";
import { smooth3, smoothVoicedTable } from "./smoothing.ts";
import { spectralFlux, spectralShape } from "./spectral-shape.ts";
import { voiceQuality } from "./voice-quality.ts";

/** The low-level descriptors of eGeMAPS v02, named as openSMILE names them. v01b lacks two of the bandwidths. */
export const egemapsDescriptors = [
  "Loudness_sma3",
  "alphaRatio_sma3",
  "hammarbergIndex_sma3",
  "slope0-500_sma3",
  "slope500-1500_sma3",
  "spectralFlux_sma3",
  "mfcc1_sma3",
  "mfcc2_sma3",
  "mfcc3_sma3",
  "mfcc4_sma3",
  "F0semitoneFrom27.5Hz_sma3nz",
  "jitterLocal_sma3nz",
  "shimmerLocaldB_sma3nz",
  "HNRdBACF_sma3nz",
  "logRelF0-H1-H2_sma3nz",
  "logRelF0-H1-A3_sma3nz",
  "F1frequency_sma3nz",
  "F1bandwidth_sma3nz",
  "F1amplitudeLogRelF0_sma3nz",
  "F2frequency_sma3nz",
  "F2bandwidth_sma3nz",
  "F2amplitudeLogRelF0_sma3nz",
  "F3frequency_sma3nz",
  "F3bandwidth_sma3nz",
  "F3amplitudeLogRelF0_sma3nz",
] as const;
const absentInV01b = new Set(["F2bandwidth_sma3nz", "F3bandwidth_sma3nz"]);
/** How many of them come from the 20 ms frames alone. */
const spectralCount = 10;
const cepstrumCount = 4;
const formantsKept = 3;
const lowestRate = 4000;

export type EgemapsVersion = "v02" | "v01b";

/** Descriptors by frame, all frames 10 ms apart. */
export interface DescriptorTable {
  names: string[];
  /** One array a frame, one value a descriptor. */
  frames: Float32Array[];
  /** Start of each frame, seconds. */
  times: Float64Array;
}

export interface Egemaps {
  lld: DescriptorTable;
  functionals: Record<string, number>;
}

/**
 * The extended Geneva minimalistic acoustic parameter set (F. Eyben et al., IEEE Trans. Affective Computing 7 (2),
 * 2016): 25 low-level descriptors (v01b: 23) every 10 ms and 88 functionals of mono `samples` in [-1, 1]. Values agree
 * with openSMILE's to the extent docs/features.md states. Throws UserError for audio shorter than one 60 ms frame.
 */
export function egemaps(
  samples: Float32Array,
  sampleRate: number,
  { version = "v02" }: { version?: EgemapsVersion } = {},
): Egemaps {
  requireFrame(samples.length, sampleRate);
  const short = framing(sampleRate, 0.02);
  const voiceFrames = frameCount(samples.length, framing(sampleRate, pitchFrameSeconds));
  const shortFrames = frameCount(samples.length, short);
  const columns = egemapsDescriptors.map(
    (_, i) => new Float32Array(i < spectralCount ? shortFrames : voiceFrames),
  );
  const meanSquare = spectralColumns(samples, short, columns);
  const { f0, decided } = voiceColumns(samples, sampleRate, columns);

  const wanted = egemapsDescriptors.flatMap((name, i) =>
    version === "v01b" && absentInV01b.has(name) ? [] : [i],
  );
  const count = voiceFrames + 1;
  const smoothed = columns.map((column, i) =>
    i < spectralCount ? smooth3(column) : smoothVoicedTable(column, decided),
  );
  return {
    lld: descriptorTable(
      wanted.map((i) => egemapsDescriptors[i]),
      wanted.map((i) => smoothed[i]),
      count,
    ),
    functionals: egemapsFunctionals({ columns, voiced: f0, decided, meanSquare }),
  };
}

/** Throws where there is not one whole frame to analyse, or nothing above the pitch to analyse in it. */
export function requireFrame(samples: number, sampleRate: number): void {
  if (!(sampleRate >= lowestRate)) {
    throw new UserError(
      `acoustic features need a sampling rate of at least ${lowestRate} Hz, this has ${sampleRate}`,
    );
  }
  if (frameCount(samples, framing(sampleRate, pitchFrameSeconds)) > 0) return;
  throw new UserError(
    `acoustic features need at least ${pitchFrameSeconds} s of audio, this has ${(samples / sampleRate).toFixed(3)} s`,
  );
}

/** Joins columns into `count` frames; a shorter column goes on with its last value. */
export function descriptorTable(names: string[], columns: Float32Array[], count: number): DescriptorTable {
  const width = names.length;
  const values = new Float32Array(count * width);
  columns.forEach((column, c) => {
    for (let t = 0; t < count; t++) values[t * width + c] = column[Math.min(t, column.length - 1)];
  });
  return {
    names,
    frames: Array.from({ length: count }, (_, t) => values.subarray(t * width, (t + 1) * width)),
    times: Float64Array.from({ length: count }, (_, t) => t * frameStepSeconds),
  };
}

/** 20 ms frames: level, spectral shape, cepstrum and formants, into the columns. Returns the mean square sample. */
function spectralColumns(samples: Float32Array, frame: Framing, columns: Float32Array[]): number {
  const [loudness, alpha, hammarberg, slopeLow, slopeHigh, flux] = columns;
  const cepstrum = columns.slice(spectralCount - cepstrumCount, spectralCount);
  const formantColumns = columns.slice(-3 * formantsKept);
  const bins = frame.fftSize / 2 + 1;
  const bands = new Float64Array(bandCount);
  const coefficients = new Float64Array(cepstrumCount);
  const mel = melBands(bins, frame.binHz);
  const toCepstrum = melCepstrum(cepstrumCount);
  const toLoudness = auditorySpectrum(mel);
  const toShape = spectralShape(bins, frame.binHz);
  const toFlux = spectralFlux(bins, frame.binHz);
  const toFormants = formantTracker(frame);
  const voiceFrames = formantColumns[0].length;
  let energy = 0;
  eachSpectrum(samples, frame, hammingWindow(frame.size), (t, { re, im, power, meanSquare }) => {
    energy += meanSquare;
    const shape = toShape(power);
    alpha[t] = shape.alphaRatio;
    hammarberg[t] = shape.hammarbergIndex;
    slopeLow[t] = shape.slopeLow;
    slopeHigh[t] = shape.slopeHigh;
    flux[t] = toFlux(power);
    mel.apply(power, bands);
    toCepstrum(bands, coefficients);
    for (let c = 0; c < cepstrumCount; c++) cepstrum[c][t] = coefficients[c];
    toLoudness(bands);
    loudness[t] = meanOf(bands);
    if (t >= voiceFrames) return;
    const { hz, bandwidth } = toFormants(re, im);
    for (let f = 0; f < formantsKept; f++) {
      formantColumns[3 * f][t] = hz[f];
      formantColumns[3 * f + 1][t] = bandwidth[f];
    }
  });
  return energy / loudness.length;
}

/** 60 ms frames: F0, perturbation, harmonics and, relative to them, the formants' levels. */
function voiceColumns(samples: Float32Array, sampleRate: number, columns: Float32Array[]) {
  const [semitones, jitter, shimmer, hnr, h1h2, h1a3, ...formantColumns] = columns.slice(spectralCount);
  const frame = framing(sampleRate, pitchFrameSeconds);
  const toHarmonics = harmonicAnalyser(frame);
  const toHnr = harmonicsToNoise(frame);
  const formantHz = new Float64Array(formantsKept);
  for (let f = 0; f < formantsKept; f++) formantColumns[3 * f + 2].fill(unvoicedLevel);
  const track = trackPitch(
    samples,
    sampleRate,
    { minHz: 55, maxHz: 1000, lookAhead: 40 },
    (t, hz, spectrum) => {
      semitones[t] = hz > 29.136 ? 12 * Math.log2(hz / 27.5) : 1;
      for (let f = 0; f < formantsKept; f++) formantHz[f] = formantColumns[3 * f][t];
      const levels = toHarmonics(spectrum, hz, formantHz);
      h1h2[t] = levels.h1h2;
      h1a3[t] = levels.h1a3;
      for (let f = 0; f < formantsKept; f++) formantColumns[3 * f + 2][t] = levels.formantLevel[f];
      hnr[t] = toHnr(spectrum, hz);
    },
  );
  const quality = voiceQuality(samples, sampleRate, track.f0, frame, {
    searchRange: 0.1,
    minCorrelation: 0.5,
  });
  jitter.set(quality.jitterLocal);
  for (let t = 0; t < shimmer.length; t++) shimmer[t] = 20 * Math.log10(1 + quality.shimmerLocal[t]);
  return track;
}
