/**
 * Sample-rate conversion by a polyphase windowed-sinc filter with a Kaiser window, the same function as torchaudio's
 * `sinc_interp_kaiser` (J. O. Smith, "Digital Audio Resampling", ccrma.stanford.edu/~jos/resample): the output sample at
 * time t is sum_k x[k] h(t - k) with h(u) = r sinc(r u) w(r u / zeros) and r = rolloff * min(1, to/from).
 */
export interface ResampleOptions {
  /** Zero crossings of the sinc on each side: the filter's sharpness. */
  zeros?: number;
  /** Cut-off as a share of the lower Nyquist frequency. */
  rolloff?: number;
  /** Kaiser beta; the default attenuates the stop band by more than 140 dB. */
  beta?: number;
}

interface Polyphase {
  /** Output and input samples per period: the two rates over their greatest common divisor. */
  up: number;
  down: number;
  taps: number;
  /** First input sample of each phase, relative to the period's start [up]. */
  first: Int32Array;
  /** [up, taps] */
  kernel: Float64Array;
}

/**
 * Converts `samples` [samples] from `fromRate` to `toRate` (Hz, whole numbers). The result has exactly
 * ceil(samples * toRate / fromRate) samples and no delay; outside the recording there is silence.
 */
export function resample(
  samples: Float32Array,
  fromRate: number,
  toRate: number,
  options: ResampleOptions = {},
): Float32Array {
  for (const rate of [fromRate, toRate])
    if (!(Number.isInteger(rate) && rate > 0))
      throw new RangeError(`resample: a rate of ${rate} Hz is not a positive whole number`);
  if (fromRate === toRate) return samples.slice();
  const { up, down, taps, first, kernel } = polyphase(fromRate, toRate, options);
  const count = Math.ceil((samples.length * up) / down);
  // Zeros on both sides spare the inner loop every test; float64 spares it every conversion.
  const before = -first[0];
  const padded = new Float64Array(before + samples.length + down + taps);
  padded.set(samples, before);
  const out = new Float32Array(count);
  for (let phase = 0; phase < up; phase++) {
    const row = kernel.subarray(phase * taps, (phase + 1) * taps);
    let start = before + first[phase];
    for (let i = phase; i < count; i += up, start += down) out[i] = dot(row, padded, start);
  }
  return out;
}

/** sum_k row[k] x[start + k]; four sums run side by side because one would wait for each addition. `row` is padded to 4. */
function dot(row: Float64Array, x: Float64Array, start: number): number {
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  for (let k = 0; k < row.length; k += 4) {
    a += row[k] * x[start + k];
    b += row[k + 1] * x[start + k + 1];
    c += row[k + 2] * x[start + k + 2];
    d += row[k + 3] * x[start + k + 3];
  }
  return a + b + (c + d);
}

const filters = new Map<string, Polyphase>();

function polyphase(fromRate: number, toRate: number, options: ResampleOptions): Polyphase {
  const { zeros = 64, rolloff = 0.9475937167399596, beta = 14.769656459379492 } = options;
  const key = [fromRate, toRate, zeros, rolloff, beta].join();
  let filter = filters.get(key);
  if (!filter) {
    filter = design(fromRate, toRate, zeros, rolloff, beta);
    // A corpus has one or two rates; a run over odd ones must not gather filters without end.
    if (filters.size >= 16) filters.clear();
    if (filter.kernel.length <= 1 << 20) filters.set(key, filter);
  }
  return filter;
}

function design(fromRate: number, toRate: number, zeros: number, rolloff: number, beta: number): Polyphase {
  const divisor = gcd(fromRate, toRate);
  const down = fromRate / divisor;
  const up = toRate / divisor;
  // Cut-off relative to the input rate: the sinc's argument advances by this much per input sample.
  const cutoff = Math.min(1, up / down) * rolloff;
  const reach = zeros / cutoff;
  const taps = Math.ceil((2 * Math.ceil(reach) + 1) / 4) * 4;
  const first = new Int32Array(up);
  const kernel = new Float64Array(up * taps);
  const norm = 1 / bessel0(beta);
  for (let phase = 0; phase < up; phase++) {
    const centre = (phase * down) / up;
    first[phase] = Math.floor(centre) - Math.ceil(reach);
    for (let k = 0; k < taps; k++) {
      const t = (first[phase] + k - centre) * cutoff;
      if (Math.abs(t) > zeros) continue;
      const window = bessel0(beta * Math.sqrt(1 - (t / zeros) ** 2)) * norm;
      const sinc = t === 0 ? 1 : Math.sin(Math.PI * t) / (Math.PI * t);
      kernel[phase * taps + k] = sinc * window * cutoff;
    }
  }
  return { up, down, taps, first, kernel };
}

/** Modified Bessel function of the first kind and order 0, by its power series (all terms positive, so exact). */
export function bessel0(x: number): number {
  const quarter = (x * x) / 4;
  let term = 1;
  let sum = 1;
  for (let k = 1; term > sum * 1e-17; k++) sum += term *= quarter / (k * k);
  return sum;
}

function gcd(a: number, b: number): number {
  while (b) [a, b] = [b, a % b];
  return a;
}
