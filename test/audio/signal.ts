import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { FrameMatrix } from "../../src/audio/spectra.ts";

/** The test signal of scripts/reference/audio-spectra.py: chirp, tone and noise from a linear congruential generator. */
export function signal(count: number, rate: number): Float32Array {
  let state = 12345;
  return Float32Array.from({ length: count }, (_, i) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const noise = state / 2 ** 31 - 1;
    const t = i / rate;
    return (
      0.4 * Math.sin(2 * Math.PI * (200 + 2000 * t) * t) + 0.2 * Math.sin(2 * Math.PI * 440 * t) + 0.1 * noise
    );
  });
}

export const fixture = (name: string) => join(import.meta.dirname, "..", "fixtures", "audio", name);

export const fixtureJson = <T>(name: string): T => JSON.parse(readFileSync(fixture(name), "utf8")) as T;

/** A matrix as the reference scripts write it. */
export interface Packed {
  shape: number[];
  data: number[];
}

/** Norm of the difference over norm of the expected values. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i] - expected[i]) ** 2;
    norm += expected[i] ** 2;
  }
  return Math.sqrt(difference / norm);
}

/** Largest difference of single values; infinite where the shapes differ. */
export function worstDifference(actual: FrameMatrix, expected: Packed): number {
  if (actual.frames !== expected.shape[0] || actual.dim !== expected.shape[1])
    return Number.POSITIVE_INFINITY;
  return actual.data.reduce((worst, x, i) => Math.max(worst, Math.abs(x - expected.data[i])), 0);
}

/** The rows `frames` of a matrix. */
export function rows(matrix: FrameMatrix, frames: number[]): FrameMatrix {
  const data = Float32Array.from(
    frames.flatMap((t) => [...matrix.data.subarray(t * matrix.dim, (t + 1) * matrix.dim)]),
  );
  return { data, frames: frames.length, dim: matrix.dim };
}
