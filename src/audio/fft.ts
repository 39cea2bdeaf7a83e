/**
 * Fourier transforms of any size in float64: Stockham's self-sorting algorithm with radices 4, 2, 3, 5 and small primes,
 * Bluestein's for sizes with a prime factor above 13. Real input of even size goes through a complex transform of half
 * the size.
 */
export interface RealFft {
  size: number;
  /** floor(size / 2) + 1 */
  bins: number;
  /** X[k] = sum_n x[n] exp(-2 pi i k n / size); `samples` [size], `re` and `im` [bins]. Missing samples count as zeros. */
  forward(samples: ArrayLike<number>, re: Float64Array, im: Float64Array): void;
  /** The inverse of `forward`, with the factor 1 / size: `re`, `im` [bins] to `samples` [size]. */
  inverse(re: Float64Array, im: Float64Array, samples: Float64Array): void;
}

/** In place; swapping `re` and `im` gives the inverse without its factor 1 / size. */
type ComplexFft = (re: Float64Array, im: Float64Array) => void;

const realPlans = new Map<number, RealFft>();

/** A transform for real signals of `size` samples; plans are kept and have one buffer each (not re-entrant, like the DFT itself). */
export function realFft(size: number): RealFft {
  let plan = realPlans.get(size);
  if (!plan) {
    if (!(Number.isInteger(size) && size > 0)) throw new RangeError(`an FFT of size ${size} does not exist`);
    plan = size % 2 === 0 ? evenFft(size) : oddFft(size);
    realPlans.set(size, plan);
  }
  return plan;
}

function oddFft(size: number): RealFft {
  const transform = complexFft(size);
  const bins = (size + 1) / 2;
  const a = new Float64Array(size);
  const b = new Float64Array(size);
  return {
    size,
    bins,
    forward(samples, re, im) {
      for (let n = 0; n < size; n++) a[n] = samples[n] ?? 0;
      b.fill(0);
      transform(a, b);
      re.set(a.subarray(0, bins));
      im.set(b.subarray(0, bins));
    },
    inverse(re, im, samples) {
      a[0] = re[0] / size;
      b[0] = 0;
      for (let k = 1; k < bins; k++) {
        a[k] = a[size - k] = re[k] / size;
        b[k] = im[k] / size;
        b[size - k] = -b[k];
      }
      transform(b, a);
      samples.set(a);
    },
  };
}

/** Even samples are the real, odd samples the imaginary parts of a signal of half the size; its spectrum unfolds into theirs. */
function evenFft(size: number): RealFft {
  const half = size / 2;
  const transform = complexFft(half);
  const a = new Float64Array(half);
  const b = new Float64Array(half);
  const [cos, sin] = roots(size, half + 1);
  return {
    size,
    bins: half + 1,
    forward(samples, re, im) {
      if (samples.length >= size) {
        for (let n = 0; n < half; n++) {
          a[n] = samples[2 * n];
          b[n] = samples[2 * n + 1];
        }
      } else {
        for (let n = 0; n < half; n++) {
          a[n] = samples[2 * n] ?? 0;
          b[n] = samples[2 * n + 1] ?? 0;
        }
      }
      transform(a, b);
      re[0] = a[0] + b[0];
      re[half] = a[0] - b[0];
      im[0] = im[half] = 0;
      for (let k = 1; k < half; k++) {
        const evenRe = (a[k] + a[half - k]) / 2;
        const evenIm = (b[k] - b[half - k]) / 2;
        const oddRe = (b[k] + b[half - k]) / 2;
        const oddIm = (a[half - k] - a[k]) / 2;
        re[k] = evenRe + cos[k] * oddRe - sin[k] * oddIm;
        im[k] = evenIm + cos[k] * oddIm + sin[k] * oddRe;
      }
    },
    inverse(re, im, samples) {
      for (let k = 0; k < half; k++) {
        const evenRe = (re[k] + re[half - k]) / size;
        const evenIm = (im[k] - im[half - k]) / size;
        const differenceRe = (re[k] - re[half - k]) / size;
        const differenceIm = (im[k] + im[half - k]) / size;
        const oddRe = differenceRe * cos[k] + differenceIm * sin[k];
        const oddIm = differenceIm * cos[k] - differenceRe * sin[k];
        a[k] = evenRe - oddIm;
        b[k] = evenIm + oddRe;
      }
      // The bins at 0 and at the Nyquist frequency are real; what their imaginary parts hold is not part of the signal.
      a[0] = (re[0] + re[half]) / size;
      b[0] = (re[0] - re[half]) / size;
      transform(b, a);
      for (let n = 0; n < half; n++) {
        samples[2 * n] = a[n];
        samples[2 * n + 1] = b[n];
      }
    },
  };
}

/** cos and sin of -2 pi k / size for k < count. */
function roots(size: number, count: number): [cos: Float64Array, sin: Float64Array] {
  const cos = Float64Array.from({ length: count }, (_, k) => Math.cos((2 * Math.PI * k) / size));
  const sin = Float64Array.from({ length: count }, (_, k) => -Math.sin((2 * Math.PI * k) / size));
  return [cos, sin];
}

function complexFft(size: number): ComplexFft {
  const radices = factor(size);
  return radices ? stockham(size, radices) : bluestein(size);
}

/** Radices whose product is `size`, or undefined where one would be too large to be worth it. */
function factor(size: number): number[] | undefined {
  const radices: number[] = [];
  let rest = size;
  for (const radix of [4, 2, 3, 5, 7, 11, 13]) for (; rest % radix === 0; rest /= radix) radices.push(radix);
  return rest === 1 ? radices : undefined;
}

/**
 * One pass a radix r: with n the remaining size, s the stride and m = n / r, for p < m and q < s
 * y[q + s (r p + i)] = w^(i p) sum_k x[q + s (p + k m)] exp(-2 pi i i k / r), w = exp(-2 pi i / n).
 */
function stockham(size: number, radices: number[]): ComplexFft {
  const [cos, sin] = roots(size, size);
  const workRe = new Float64Array(size);
  const workIm = new Float64Array(size);
  return (re, im) => {
    let [xr, xi, yr, yi]: Float64Array[] = [re, im, workRe, workIm];
    let stride = 1;
    let rest = size;
    for (const radix of radices) {
      const pass = radix === 4 ? pass4 : radix === 2 ? pass2 : passAny;
      pass(xr, xi, yr, yi, rest / radix, stride, cos, sin, radix);
      [xr, xi, yr, yi] = [yr, yi, xr, xi];
      rest /= radix;
      stride *= radix;
    }
    if (xr !== re) {
      re.set(xr);
      im.set(xi);
    }
  };
}

type Pass = (
  xr: Float64Array,
  xi: Float64Array,
  yr: Float64Array,
  yi: Float64Array,
  m: number,
  s: number,
  cos: Float64Array,
  sin: Float64Array,
  radix: number,
) => void;

const pass2: Pass = (xr, xi, yr, yi, m, s, cos, sin) => {
  for (let p = 0; p < m; p++) {
    const wr = cos[p * s];
    const wi = sin[p * s];
    for (let q = 0; q < s; q++) {
      const from = q + s * p;
      const to = q + 2 * s * p;
      const ar = xr[from];
      const ai = xi[from];
      const br = xr[from + s * m];
      const bi = xi[from + s * m];
      yr[to] = ar + br;
      yi[to] = ai + bi;
      yr[to + s] = (ar - br) * wr - (ai - bi) * wi;
      yi[to + s] = (ar - br) * wi + (ai - bi) * wr;
    }
  }
};

const pass4: Pass = (xr, xi, yr, yi, m, s, cos, sin) => {
  const step = s * m;
  for (let p = 0; p < m; p++) {
    const w1r = cos[p * s];
    const w1i = sin[p * s];
    const w2r = cos[2 * p * s];
    const w2i = sin[2 * p * s];
    const w3r = cos[3 * p * s];
    const w3i = sin[3 * p * s];
    for (let q = 0; q < s; q++) {
      const from = q + s * p;
      const to = q + 4 * s * p;
      const sumR = xr[from] + xr[from + 2 * step];
      const sumI = xi[from] + xi[from + 2 * step];
      const difR = xr[from] - xr[from + 2 * step];
      const difI = xi[from] - xi[from + 2 * step];
      const sum2R = xr[from + step] + xr[from + 3 * step];
      const sum2I = xi[from + step] + xi[from + 3 * step];
      // i times the difference of the odd pair
      const turnR = xi[from + 3 * step] - xi[from + step];
      const turnI = xr[from + step] - xr[from + 3 * step];
      yr[to] = sumR + sum2R;
      yi[to] = sumI + sum2I;
      const ar = difR - turnR;
      const ai = difI - turnI;
      yr[to + s] = ar * w1r - ai * w1i;
      yi[to + s] = ar * w1i + ai * w1r;
      const br = sumR - sum2R;
      const bi = sumI - sum2I;
      yr[to + 2 * s] = br * w2r - bi * w2i;
      yi[to + 2 * s] = br * w2i + bi * w2r;
      const cr = difR + turnR;
      const ci = difI + turnI;
      yr[to + 3 * s] = cr * w3r - ci * w3i;
      yi[to + 3 * s] = cr * w3i + ci * w3r;
    }
  }
};

/** One butterfly's inputs, for radices up to 13. */
const inRe = new Float64Array(13);
const inIm = new Float64Array(13);

const passAny: Pass = (xr, xi, yr, yi, m, s, cos, sin, radix) => {
  const turn = cos.length / radix;
  for (let p = 0; p < m; p++)
    for (let q = 0; q < s; q++) {
      for (let k = 0; k < radix; k++) {
        inRe[k] = xr[q + s * (p + k * m)];
        inIm[k] = xi[q + s * (p + k * m)];
      }
      for (let i = 0; i < radix; i++) {
        let sumR = inRe[0];
        let sumI = inIm[0];
        for (let k = 1, at = i; k < radix; k++, at = at + i < radix ? at + i : at + i - radix) {
          const c = cos[at * turn];
          const d = sin[at * turn];
          sumR += inRe[k] * c - inIm[k] * d;
          sumI += inRe[k] * d + inIm[k] * c;
        }
        const c = cos[i * p * s];
        const d = sin[i * p * s];
        const to = q + s * (radix * p + i);
        yr[to] = sumR * c - sumI * d;
        yi[to] = sumR * d + sumI * c;
      }
    }
};

/** k n = (k^2 + n^2 - (k - n)^2) / 2 turns the transform into a convolution, which transforms of a power of two do. */
function bluestein(size: number): ComplexFft {
  const padded = 2 ** Math.ceil(Math.log2(2 * size - 1));
  const transform = stockham(padded, factor(padded) as number[]);
  const chirpRe = new Float64Array(size);
  const chirpIm = new Float64Array(size);
  for (let n = 0; n < size; n++) {
    // n^2 modulo 2 size keeps the angle exact for long transforms.
    const angle = (Math.PI * Number((BigInt(n) * BigInt(n)) % BigInt(2 * size))) / size;
    chirpRe[n] = Math.cos(angle);
    chirpIm[n] = -Math.sin(angle);
  }
  const kernelRe = new Float64Array(padded);
  const kernelIm = new Float64Array(padded);
  for (let n = 0; n < size; n++) {
    kernelRe[n] = kernelRe[(padded - n) % padded] = chirpRe[n] / padded;
    kernelIm[n] = kernelIm[(padded - n) % padded] = -chirpIm[n] / padded;
  }
  transform(kernelRe, kernelIm);
  const a = new Float64Array(padded);
  const b = new Float64Array(padded);
  return (re, im) => {
    a.fill(0);
    b.fill(0);
    for (let n = 0; n < size; n++) {
      a[n] = re[n] * chirpRe[n] - im[n] * chirpIm[n];
      b[n] = re[n] * chirpIm[n] + im[n] * chirpRe[n];
    }
    transform(a, b);
    for (let k = 0; k < padded; k++) {
      const r = a[k] * kernelRe[k] - b[k] * kernelIm[k];
      b[k] = a[k] * kernelIm[k] + b[k] * kernelRe[k];
      a[k] = r;
    }
    transform(b, a);
    for (let k = 0; k < size; k++) {
      re[k] = a[k] * chirpRe[k] - b[k] * chirpIm[k];
      im[k] = a[k] * chirpIm[k] + b[k] * chirpRe[k];
    }
  };
}
