import type { SourceFilter } from "./source-filter.ts";

// Courses over frames, as all parts of the simulator need them.

/** dB per frame, over 20 ms. */
export function frameLoudness(samples: Float32Array, { hop, areas }: SourceFilter): Float32Array {
  return Float32Array.from(areas, (_, frame) => {
    const piece = samples.subarray(Math.max(0, frame * hop - 2 * hop), frame * hop + 2 * hop);
    return 20 * Math.log10(rms(piece) + 1e-6);
  });
}

/** 35 dB below the loudest twentieth of frames: silence. */
export function silenceBelow(loudness: Float32Array): number {
  const sorted = loudness.toSorted();
  return sorted[Math.floor(0.95 * (sorted.length - 1))] - 35;
}

/** A weight per frame that depends on voicing, blurred over 20 ms so that nothing clicks. */
export function frameWeights(f0: Float32Array, weight: (voiced: boolean) => number): Float32Array {
  const plain = Array.from(f0, (f) => Float32Array.of(weight(f > 0)));
  return Float32Array.from(blurred(plain, 2), (row) => row[0]);
}

/** Gaussian blur over frames; `sigma` in frames. */
export function blurred(rows: Float32Array[], sigma: number): Float32Array[] {
  const reach = Math.ceil(2.5 * sigma);
  const weights = Array.from({ length: reach + 1 }, (_, d) => Math.exp(-0.5 * (d / sigma) ** 2));
  return rows.map((row, frame) => {
    const sum = new Float32Array(row.length);
    let total = 0;
    for (let d = -reach; d <= reach; d++) {
      const other = rows[frame + d];
      if (other === undefined) continue;
      const weight = weights[Math.abs(d)];
      total += weight;
      for (let i = 0; i < sum.length; i++) sum[i] += weight * other[i];
    }
    return sum.map((x) => x / total);
  });
}

/** Value of a course between frames. */
export function at(course: ArrayLike<number>, position: number): number {
  const clamped = Math.min(course.length - 1, Math.max(0, position));
  const frame = Math.floor(clamped);
  const next = Math.min(course.length - 1, frame + 1);
  return course[frame] + (clamped - frame) * (course[next] - course[frame]);
}

export function rms(samples: Float32Array): number {
  let sum = 0;
  for (const x of samples) sum += x * x;
  return Math.sqrt(sum / Math.max(1, samples.length));
}

export function peakOf(samples: Float32Array): number {
  let peak = 0;
  for (const x of samples) peak = Math.max(peak, Math.abs(x));
  return peak;
}

export const meanOf = (values: number[]) =>
  values.reduce((sum, x) => sum + x, 0) / Math.max(1, values.length);

export function meanRow(rows: Float32Array[]): Float32Array | undefined {
  if (rows.length === 0) return undefined;
  return rows[0].map((_, i) => meanOf(rows.map((row) => row[i])));
}
