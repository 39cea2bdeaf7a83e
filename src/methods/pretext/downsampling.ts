import type { FrameMatrix } from "../../audio/spectra.ts";
import { normalCdf } from "../../metrics/special.ts";

/**
 * Gaussian downsampling of sequences to one length (Zaiem et al. 2022, section III-B, after Holzenberger et al. 2018): frame
 * k of n is a weighted mean of all frames t with weights Phi((t + 1/2 - mu_k) / s_k) - Phi((t - 1/2 - mu_k) / s_k), where mu_k
 * runs evenly from the first frame to the last and s_k = 0.07 T + 0.1 min(k, n - 1 - k), as the authors' code has it.
 *
 * @param frames T, at least 1
 * @param n at least 2
 * @returns weights [n, T], each row summing to 1
 */
export function downsamplingWeights(frames: number, n: number): Float64Array {
  const weights = new Float64Array(n * frames);
  for (let k = 0; k < n; k++) {
    const centre = ((frames - 1) * k) / (n - 1);
    const width = 0.07 * frames + 0.1 * Math.min(k, n - 1 - k);
    const row = weights.subarray(k * frames, (k + 1) * frames);
    let sum = 0;
    for (let t = 0; t < frames; t++) {
      row[t] = normalCdf((t + 0.5 - centre) / width) - normalCdf((t - 0.5 - centre) / width);
      sum += row[t];
    }
    for (let t = 0; t < frames; t++) row[t] /= sum;
  }
  return weights;
}

/** Weights by length: the utterances of a corpus share few lengths. */
export class Downsampler {
  readonly frames: number;
  private readonly weights = new Map<number, Float64Array>();

  /** @param frames of every result */
  constructor(frames: number) {
    this.frames = frames;
  }

  /** Rows `from` to `to` of a matrix as [frames, dim], flat. */
  apply({ data, dim }: FrameMatrix, from: number, to: number): Float64Array {
    const length = to - from;
    let weights = this.weights.get(length);
    if (weights === undefined) {
      weights = downsamplingWeights(length, this.frames);
      this.weights.set(length, weights);
    }
    const out = new Float64Array(this.frames * dim);
    for (let k = 0; k < this.frames; k++)
      for (let t = 0; t < length; t++) {
        const weight = weights[k * length + t];
        if (weight === 0) continue;
        const [source, target] = [(from + t) * dim, k * dim];
        for (let d = 0; d < dim; d++) out[target + d] += weight * data[source + d];
      }
    return out;
  }
}

/** Brings a vector to length 1, so that a dot product of two is their cosine; zeros stay zeros. */
export function toUnitLength(vector: Float64Array): Float64Array {
  const length = Math.sqrt(vector.reduce((sum, v) => sum + v * v, 0));
  return length === 0 ? vector : vector.map((v) => v / length);
}
