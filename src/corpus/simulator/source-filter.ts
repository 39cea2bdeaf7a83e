/**
 * Speech as an excitation through a vocal tract: linear prediction by the autocorrelation method, run as a lattice whose
 * coefficients are kept as log area ratios (J. Makhoul, "Linear prediction: a tutorial review", 1975; J. Markel and
 * A. Gray, "Linear Prediction of Speech", 1976). A tract is then a tube of short sections; averages of log area ratios
 * are averages of tube shapes and always stable, which is what makes them fit for changing articulation.
 */
export interface SourceFilter extends Tract {
  /** Hz */
  sampleRate: number;
  /** What is left of the signal when the tract is undone [samples]. */
  residual: Float32Array;
}

/** The course of the tract's shape. */
export interface Tract {
  /** Log area ratios, one row per frame [frames, order]. */
  areas: Float32Array[];
  /** Samples between frames; row f belongs to sample f * hop. */
  hop: number;
}

const preEmphasis = 0.95;
/** Samples between updates of the lattice's coefficients. */
const step = 16;

/** Splits speech into excitation and tract. `synthesizeSource` of the result gives the signal back exactly. */
export function analyzeSource(
  samples: Float32Array,
  sampleRate: number,
  framesPerSecond: number,
): SourceFilter {
  const order = Math.round(sampleRate / 1000) + 4;
  const hop = Math.round(sampleRate / framesPerSecond);
  const window = Math.round(0.025 * sampleRate);
  const frames = Math.floor(samples.length / hop) + 1;
  // Half a window of silence on both sides, so that no frame reaches outside.
  const margin = window >> 1;
  const bright = new Float32Array(margin + Math.max(samples.length, frames * hop) + window);
  for (let n = 0; n < samples.length; n++) {
    bright[margin + n] = samples[n] - preEmphasis * (n > 0 ? samples[n - 1] : 0);
  }
  const taper = Float64Array.from({ length: window }, (_, i) => {
    return 0.5 - 0.5 * Math.cos((2 * Math.PI * (i + 0.5)) / window);
  });
  const piece = new Float64Array(window);
  const areas = Array.from({ length: frames }, (_, frame) => {
    for (let i = 0; i < window; i++) piece[i] = taper[i] * bright[frame * hop + i];
    return reflectionCoefficients(autocorrelation(piece, order)).map(logArea);
  });
  const residual = new Float32Array(samples.length);
  const source = { sampleRate, residual, areas, hop };
  const delayed = new Float64Array(order + 1);
  const k = new Float64Array(order);
  for (let n = 0; n < samples.length; n++) {
    if (n % step === 0) setReflections(source, n, k);
    let forward = bright[margin + n];
    let backward = forward;
    for (let m = 0; m < order; m++) {
      const before = delayed[m];
      delayed[m] = backward;
      backward = before + k[m] * forward;
      forward += k[m] * before;
    }
    residual[n] = forward;
  }
  return source;
}

/**
 * Runs an excitation [samples] through a tract, which at each output sample has the shape that it has at `shapeAt` of it,
 * and undoes the pre-emphasis.
 */
export function synthesizeSource(
  excitation: Float32Array,
  tract: Tract,
  shapeAt: (sample: number) => number,
): Float32Array {
  const out = new Float32Array(excitation.length);
  const order = tract.areas[0].length;
  const k = new Float64Array(order);
  const delayed = new Float64Array(order + 1);
  let previous = 0;
  for (let n = 0; n < excitation.length; n++) {
    if (n % step === 0) setReflections(tract, shapeAt(n), k);
    let forward = excitation[n];
    for (let m = order - 1; m >= 0; m--) {
      forward -= k[m] * delayed[m];
      delayed[m + 1] = delayed[m] + k[m] * forward;
    }
    delayed[0] = forward;
    previous = forward + preEmphasis * previous;
    out[n] = previous;
  }
  return out;
}

/** Reflection coefficients at a sample, from areas between those of the frames on both sides, into `k` [order]. */
function setReflections({ areas, hop }: Tract, sample: number, k: Float64Array): void {
  const position = Math.min(areas.length - 1, Math.max(0, sample / hop));
  const frame = Math.floor(position);
  const share = position - frame;
  const before = areas[frame];
  const after = areas[Math.min(areas.length - 1, frame + 1)];
  for (let m = 0; m < k.length; m++) k[m] = reflection(before[m] + share * (after[m] - before[m]));
}

/** a + share * (b - a) */
export const mix = (a: Float32Array, b: Float32Array, share: number): Float32Array =>
  share === 0 ? a : a.map((x, i) => x + share * (b[i] - x));

/** Power that an all-pole tract adds to white excitation: the product of 1 / (1 - k^2) [Markel & Gray, 1976]. */
export function tractPower(areas: Float32Array): number {
  let power = 1;
  for (const g of areas) power /= 1 - reflection(g) ** 2;
  return power;
}

const logArea = (k: number) => Math.log((1 + k) / (1 - k));
const reflection = (g: number) => Math.tanh(g / 2);

function autocorrelation(x: Float64Array, order: number): Float64Array {
  const r = new Float64Array(order + 1);
  for (let lag = 0; lag <= order; lag++) {
    let sum = 0;
    for (let i = lag; i < x.length; i++) sum += x[i] * x[i - lag];
    r[lag] = sum;
  }
  // White noise 50 dB down keeps the coefficients clear of 1 in silence and in pure tones.
  r[0] = r[0] * (1 + 1e-5) + 1e-9;
  return r;
}

/** Levinson's recursion, of which only the reflection coefficients are kept [order]. */
function reflectionCoefficients(r: Float64Array): Float32Array {
  const order = r.length - 1;
  const a = new Float64Array(order + 1);
  const k = new Float32Array(order);
  let error = r[0];
  for (let m = 1; m <= order; m++) {
    let sum = r[m];
    for (let i = 1; i < m; i++) sum += a[i] * r[m - i];
    const reflected = -sum / error;
    for (let i = 1; i <= m >> 1; i++) {
      const [low, high] = [a[i], a[m - i]];
      a[i] = low + reflected * high;
      a[m - i] = high + reflected * low;
    }
    a[m] = reflected;
    k[m - 1] = Math.max(-0.9999, Math.min(0.9999, reflected));
    error *= 1 - reflected ** 2;
  }
  return k;
}
