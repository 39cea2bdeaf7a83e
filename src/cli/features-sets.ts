import { clinicalFeatures, clinicalNames } from "../audio/acoustics/clinical/clinical.ts";
import type { PhoneInterval } from "../audio/acoustics/clinical/phones.ts";
import {
  type DescriptorTable,
  type EgemapsVersion,
  egemaps,
  requireFrame,
} from "../audio/acoustics/egemaps.ts";
import { frameStepSeconds } from "../audio/acoustics/frames.ts";
import { deviation, mean, nonZero } from "../audio/acoustics/functionals.ts";
import { pretextLabels } from "../audio/acoustics/pretext.ts";
import { chroma } from "../audio/chroma.ts";
import { readAudio } from "../audio/file.ts";
import { bandFlatness, octaveIntensity } from "../audio/octave-bands.ts";
import { type FrameMatrix, logMel, mfcc, withDeltas } from "../audio/spectra.ts";
import { UserError } from "../errors.ts";

export const featureSets = ["egemaps", "pretext", "clinical", "mel", "mfcc"] as const;
export type FeatureSet = (typeof featureSets)[number];

/** One recording, as a worker thread gets it. */
export interface FeatureTask {
  /** Path of the sound file and, where only a part of it is meant, that part in seconds. */
  audio: string;
  start?: number;
  end?: number;
  /** A channel counted from 0; the mean of all where absent. */
  channel?: number;
  /** Hz to resample to first. */
  sampleRate?: number;
  set: FeatureSet;
  /** Of eGeMAPS. */
  version: EgemapsVersion;
  /** Descriptors frame by frame instead of one row for the recording. */
  lld: boolean;
  /** For the clinical set; see `clinicalFeatures`. */
  phones?: PhoneInterval[];
  canonical?: string[];
  recognised?: string[];
}

export interface FeatureRows {
  columns: string[];
  /** [rows, columns] */
  values: Float64Array;
  rows: number;
  /** Hz of the samples that were analysed. */
  sampleRate: number;
}

/** True where a row's meaning or width depends on the sampling rate, so that one table holds one rate only. */
export const boundToRate = (set: FeatureSet): boolean => set !== "egemaps" && set !== "clinical";

/**
 * Reads a recording and computes its row or, with `lld`, its rows, whose first column is then the frame's start in seconds.
 *
 * @throws UserError that names the file
 */
export async function extractFeatures(task: FeatureTask): Promise<FeatureRows> {
  const { audio, start, end, channel, set } = task;
  const { samples, sampleRate } = await readAudio(audio, {
    startSeconds: start,
    endSeconds: end,
    channel,
    sampleRate: task.sampleRate,
  });
  try {
    requireFrame(samples.length, sampleRate);
  } catch (error) {
    if (error instanceof UserError) throw new UserError(`${audio}: ${error.message}`);
    throw error;
  }
  if (set === "clinical") {
    const { phones, canonical, recognised } = task;
    const features = clinicalFeatures(samples, sampleRate, { phones, canonical, recognised });
    return oneRow([...clinicalNames], (name) => features[name as keyof typeof features], sampleRate);
  }
  if (set === "egemaps") {
    const { lld, functionals } = egemaps(samples, sampleRate, { version: task.version });
    if (task.lld) return frameRows(ofTable(lld), sampleRate);
    return oneRow(Object.keys(functionals), (name) => functionals[name], sampleRate);
  }
  const frames = set === "pretext" ? pretext(samples, sampleRate) : spectrum(samples, sampleRate, set);
  return task.lld ? frameRows(frames, sampleRate) : statistics(frames, sampleRate);
}

/** Descriptors by name, each [frames]. */
type Columns = Map<string, Float32Array>;

const ofTable = ({ names, frames }: DescriptorTable): Columns =>
  new Map(names.map((name, c) => [name, Float32Array.from(frames, (frame) => frame[c])]));

function ofMatrix({ data, frames, dim }: FrameMatrix, name: (column: number) => string): Columns {
  return new Map(
    Array.from({ length: dim }, (_, c) => [
      name(c),
      Float32Array.from({ length: frames }, (_, t) => data[t * dim + c]),
    ]),
  );
}

/** 80 log-mel bands, or 13 cepstral coefficients with first and second derivatives (openSMILE's `_de`, `_de_de`). */
function spectrum(samples: Float32Array, sampleRate: number, set: "mel" | "mfcc"): Columns {
  if (set === "mel") return ofMatrix(logMel(samples, sampleRate), (c) => `logMelFreqBand[${c}]`);
  const plain = mfcc(samples, sampleRate);
  const order = ["", "_de", "_de_de"];
  return ofMatrix(withDeltas(plain), (c) => `mfcc${order[Math.floor(c / plain.dim)]}[${c % plain.dim}]`);
}

/**
 * All pretext labels at 100 frames a second: those of `pretextLabels` and the three with a spectral axis. Blocks of the
 * latter are centred on the 20 ms frames of the former, which start (and do not centre) at their time.
 */
function pretext(samples: Float32Array, sampleRate: number): Columns {
  const table = pretextLabels(samples, sampleRate);
  const columns = ofTable(table);
  const hop = Math.round(frameStepSeconds * sampleRate);
  const add = (name: string, matrix: FrameMatrix) => {
    for (const [key, values] of ofMatrix(matrix, (c) => `${name}[${c}]`)) {
      const centred = table.frames.map((_, t) => values[Math.min(t + 1, values.length - 1)]);
      columns.set(key, Float32Array.from(centred));
    }
  };
  add("spectralFlatness", bandFlatness(samples, sampleRate, { hop }));
  add("octaveIntensity", octaveIntensity(samples, sampleRate, { hop }));
  add("chroma", chroma(samples, sampleRate, { hop }));
  return columns;
}

/** Descriptors of the voice are 0 where there is none; as in ComParE 2016, such frames do not count. */
const voiceOnly = /^(F0final|voicingFinalUnclipped|logHNR|jitterLocal|shimmerLocal)_/;

/** Mean and standard deviation over frames, by the names that openSMILE gives these functionals. */
function statistics(frames: Columns, sampleRate: number): FeatureRows {
  const row = new Map(
    [...frames].flatMap(([name, all]) => {
      const values = voiceOnly.test(name) ? nonZero(all) : all;
      return [
        [`${name}_amean`, mean(values)],
        [`${name}_stddev`, deviation(values)],
      ] as [string, number][];
    }),
  );
  return oneRow([...row.keys()], (name) => row.get(name)!, sampleRate);
}

function oneRow(columns: string[], value: (name: string) => number, sampleRate: number): FeatureRows {
  return { columns, values: Float64Array.from(columns, value), rows: 1, sampleRate };
}

function frameRows(frames: Columns, sampleRate: number): FeatureRows {
  const columns = ["frameTime", ...frames.keys()];
  const data = [...frames.values()];
  const rows = data[0].length;
  const values = new Float64Array(rows * columns.length);
  for (let t = 0; t < rows; t++) {
    values[t * columns.length] = Math.round(t * 1e5 * frameStepSeconds) / 1e5;
    for (let c = 0; c < data.length; c++) values[t * columns.length + c + 1] = data[c][t];
  }
  return { columns, values, rows, sampleRate };
}
