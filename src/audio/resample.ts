import { type FilterKernel, loadFilterKernel } from "./simd.ts";

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

interface Filter {
  /** Output and input samples per period: the two rates over their greatest common divisor. */
  up: number;
  down: number;
  /** Multiple of 8, the vector kernel's stride. */
  taps: number;
  /** First input sample of each phase, relative to the period's start [up]. */
  first: Int32Array;
  /** [up, taps] */
  kernel: Float32Array;
}

/** Input or output samples a turn, whichever are more: the vector kernel's memory stays this small however long the recording. */
const turn = 1 << 16;

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
  const { up, down, taps, first, kernel } = design(fromRate, toRate, options);
  const out = new Float32Array(Math.ceil((samples.length * up) / down));
  const before = -first[0];
  const periods = Math.max(1, Math.floor(turn / Math.max(up, down)));
  // The vector kernel makes four outputs of a phase at a time, so up to three more than the turn has.
  const span = before + (periods + 4) * down + taps;
  // Memory: one phase of the filter, the stretch of input that the turn needs, the outputs of the turn.
  const [kernelAt, inputAt, outputAt] = [0, 4 * taps, 4 * (taps + span)];
  const { filter, floats } = workspace(taps + span + (periods + 4) * up);
  for (let begin = 0; begin * up < out.length; begin += periods) {
    fill(floats.subarray(taps, taps + span), samples, begin * down - before);
    const turnOut = Math.min(periods * up, out.length - begin * up);
    for (let phase = 0; phase < Math.min(up, turnOut); phase++) {
      floats.set(kernel.subarray(phase * taps, (phase + 1) * taps), 0);
      const from = inputAt + 4 * (before + first[phase]);
      filter(
        from,
        kernelAt,
        outputAt + 4 * phase,
        4 * taps,
        4 * down,
        4 * up,
        Math.ceil((turnOut - phase) / up / 4),
      );
    }
    out.set(floats.subarray(taps + span, taps + span + turnOut), begin * up);
  }
  return out;
}

/**
 * The same, stretch by stretch: what a recording of `samples` samples becomes, of which `read` gives any part. Stretches are
 * those of the whole.
 */
export function resampledStretches(
  from: { sampleRate: number; samples: number; read(start: number, end: number): Promise<Float32Array> },
  toRate: number,
): typeof from {
  if (from.sampleRate === toRate) return from;
  const { up, down, taps } = design(from.sampleRate, toRate, {});
  // Outside the recording there is silence, so a stretch needs what its filters reach on either side, in whole periods.
  const margin = Math.ceil(taps / down) + 1;
  return {
    sampleRate: toRate,
    samples: Math.ceil((from.samples * up) / down),
    async read(start, end) {
      const period = Math.max(0, Math.floor(start / up) - margin);
      const last = Math.min(from.samples, (Math.ceil(end / up) + margin) * down);
      const part = await from.read(period * down, last);
      return resample(part, from.sampleRate, toRate).slice(start - period * up, end - period * up);
    },
  };
}

/** target[i] = samples[i + offset], zero outside the recording. */
function fill(target: Float32Array, samples: Float32Array, offset: number): void {
  const from = Math.max(0, offset);
  const to = Math.max(from, Math.min(samples.length, offset + target.length));
  target.fill(0, 0, from - offset);
  target.set(samples.subarray(from, to), from - offset);
  target.fill(0, to - offset);
}

let memory: WebAssembly.Memory | undefined;
let filter: FilterKernel | undefined;

/** The vector kernel and its memory, at least `size` floats. One per thread is enough: `resample` never awaits. */
function workspace(size: number): { filter: FilterKernel; floats: Float32Array } {
  memory ??= new WebAssembly.Memory({ initial: 16 });
  filter ??= loadFilterKernel(memory);
  const missing = 4 * size - memory.buffer.byteLength;
  if (missing > 0) memory.grow(Math.ceil(missing / 65536));
  return { filter, floats: new Float32Array(memory.buffer) };
}

const designs = new Map<string, Filter>();

function design(fromRate: number, toRate: number, options: ResampleOptions): Filter {
  const { zeros = 64, rolloff = 0.9475937167399596, beta = 14.769656459379492 } = options;
  const key = [fromRate, toRate, zeros, rolloff, beta].join();
  const known = designs.get(key);
  if (known) return known;
  const divisor = gcd(fromRate, toRate);
  const down = fromRate / divisor;
  const up = toRate / divisor;
  // The sinc's argument advances by this much per input sample.
  const cutoff = Math.min(1, up / down) * rolloff;
  const reach = Math.ceil(zeros / cutoff);
  const taps = Math.ceil((2 * reach + 1) / 8) * 8;
  const first = new Int32Array(up);
  const kernel = new Float32Array(up * taps);
  const norm = 1 / bessel0(beta);
  for (let phase = 0; phase < up; phase++) {
    const centre = (phase * down) / up;
    first[phase] = Math.floor(centre) - reach;
    for (let k = 0; k < taps; k++) {
      const t = (first[phase] + k - centre) * cutoff;
      if (Math.abs(t) > zeros) continue;
      const window = bessel0(beta * Math.sqrt(1 - (t / zeros) ** 2)) * norm;
      const sinc = t === 0 ? 1 : Math.sin(Math.PI * t) / (Math.PI * t);
      kernel[phase * taps + k] = sinc * window * cutoff;
    }
  }
  const filter = { up, down, taps, first, kernel };
  // A corpus has one or two rates; odd ones must not gather filters without end.
  if (designs.size >= 16) designs.clear();
  if (kernel.length <= 1 << 21) designs.set(key, filter);
  return filter;
}

/** Modified Bessel function of the first kind and order 0, by its power series. */
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
