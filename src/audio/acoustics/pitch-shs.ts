import type { Framing } from "./frames.ts";

/**
 * Pitch candidates by subharmonic summation: D. J. Hermes, "Measurement of pitch by subharmonic summation",
 * JASA 83 (1), 1988. The magnitude spectrum is reduced to the surroundings of its peaks, smoothed, interpolated by
 * a cubic spline onto a logarithmic frequency axis and weighted by the ear's low-frequency sensitivity; copies shifted
 * by the octaves of the 2nd to 15th harmonic, each weaker by `compression`, are added, and the sum's highest
 * peaks are the candidates.
 */
export interface PitchRange {
  minHz: number;
  maxHz: number;
}

export const candidateCount = 6;
const harmonicCount = 15;
const compression = 0.85;
/** Lowest frequency of the octave axis, Hz. */
const axisMinHz = 25;

/** `candidateCount` pairs (Hz, voicing strength 0..1), best first; unused pairs are 0. */
export type Candidates = Float32Array;

/** Returns a function that finds the candidates of one magnitude spectrum (`fftSize / 2 + 1` bins). */
export function subharmonicSummation({ fftSize, binHz }: Framing, range: PitchRange) {
  const bins = fftSize / 2 + 1;
  const points = bins;
  const octaves = Math.fround(Math.log2(((bins - 1) * binHz) / axisMinHz));
  const pointsPerOctave = Math.fround(points / octaves);
  const first = Math.fround(Math.log2(axisMinHz));
  const step = Math.fround((Math.fround(Math.log2((bins - 1) * binHz)) - first) / (points - 1));

  const weights = new Float64Array(points);
  const corner = pointsPerOctave * Math.log2(65 / 50) - 1;
  for (let i = 0; i < points; i++) {
    weights[i] = 0.5 + Math.atan((3 * (i + 1 - corner)) / pointsPerOctave) / Math.PI;
  }
  const spline = octaveSpline(bins, binHz, weights);
  const shifts = Int32Array.from({ length: harmonicCount - 1 }, (_, i) =>
    Math.floor(pointsPerOctave * Math.log2(i + 2)),
  );

  const enhanced = new Float64Array(bins);
  const octave = new Float64Array(2 * points);
  const axis = octave.subarray(0, points);
  const sum = new Float64Array(points);
  const peakAt = new Int32Array(candidateCount);
  const peakHeight = new Float64Array(candidateCount);
  const hz = new Float64Array(candidateCount);
  const strength = new Float64Array(candidateCount);
  const score = new Float64Array(candidateCount);

  return (magnitudes: Float64Array, candidates: Candidates): void => {
    enhanced.set(magnitudes);
    keepPeaks(enhanced);
    smooth(enhanced);
    spline(enhanced, octave);
    sum.set(axis);
    let scale = compression;
    // Two harmonics at a time: half the passes over the sum. The axis is followed by zeros.
    for (let h = 0; h < shifts.length; h += 2) {
      const near = shifts[h];
      const far = shifts[h + 1];
      const farScale = scale * compression;
      const end = points - near;
      for (let j = 0; j < end; j++) sum[j] += octave[j + near] * scale + octave[j + far] * farScale;
      scale = farScale * compression;
    }
    let mean = 0;
    for (let j = 0; j < points; j++) mean += sum[j] /= harmonicCount;
    mean /= points;

    let found = 0;
    for (let i = 1; i < points - 1; i++) {
      const height = sum[i];
      if (!(sum[i - 1] < height && height > sum[i + 1])) continue;
      let place = found;
      while (place > 0 && peakHeight[place - 1] < height) place--;
      if (place >= candidateCount) continue;
      if (found < candidateCount) found++;
      for (let k = found - 1; k > place; k--) {
        peakHeight[k] = peakHeight[k - 1];
        peakAt[k] = peakAt[k - 1];
      }
      peakHeight[place] = height;
      peakAt[place] = i;
    }

    let kept = 0;
    for (let c = 0; c < found; c++) {
      const i = peakAt[c];
      const peak = vertex(sum[i - 1], sum[i], sum[i + 1]);
      const frequency = 2 ** (first + step * (i + peak.offset));
      if (frequency < range.minHz || frequency > range.maxHz) continue;
      hz[kept] = frequency;
      score[kept] = peak.height;
      strength[kept] = peak.height > mean ? 1 - mean / peak.height : 0;
      kept++;
    }
    // Interpolation can change which peak is highest: that one comes first, the others keep their order.
    let best = 0;
    for (let c = 1; c < kept; c++) if (score[c] > score[best]) best = c;
    candidates.fill(0);
    for (let c = 0; c < kept; c++) {
      const from = c === 0 ? best : c === best ? 0 : c;
      candidates[2 * c] = hz[from];
      candidates[2 * c + 1] = strength[from];
    }
  };
}

/** Vertex of the parabola through (-1, left), (0, middle), (1, right). */
export function vertex(left: number, middle: number, right: number): { offset: number; height: number } {
  const curvature = left - 2 * middle + right;
  if (curvature === 0) return { offset: 0, height: middle };
  const offset = (0.5 * (left - right)) / curvature;
  return { offset, height: middle - 0.25 * (left - right) * offset };
}

/** Zeroes whatever is more than two bins from a local maximum (Hermes 1988, section II). */
function keepPeaks(a: Float64Array): void {
  const n = a.length;
  let previous = -1;
  let peaks = 0;
  let last = -1;
  for (let i = 0; i < n; i++) {
    const rises = i === 0 ? a[0] > a[1] : a[i] > a[i - 1];
    const falls = i === n - 1 || i === 0 || a[i] >= a[i + 1];
    if (!(rises && falls)) continue;
    // Most gaps are empty: a loop, where a call of `fill` for each would cost more than all the rest.
    if (previous >= 0) for (let j = previous + 3; j <= i - 3; j++) a[j] = 0;
    peaks++;
    last = previous = i;
  }
  if (peaks === 1) {
    a.fill(0, 0, Math.max(0, last - 2));
    a.fill(0, Math.min(n, last + 3));
  }
}

/** Smooths with (1, 2, 1) / 4; the last bin stays. */
function smooth(a: Float64Array): void {
  let left = 0;
  for (let i = 0; i < a.length - 1; i++) {
    const here = a[i];
    a[i] = (left + 2 * here + a[i + 1]) / 4;
    left = here;
  }
}

/**
 * Natural cubic spline from linear bins onto as many points, equally spaced in log2 frequency from 25 Hz to the
 * highest bin; each point is multiplied by its scale, and what falls below 0 is 0. The axes are fixed, so the tridiagonal
 * system is factored once.
 */
function octaveSpline(bins: number, binHz: number, scales: Float64Array) {
  const x = Float64Array.from({ length: bins }, (_, i) => Math.log2(i * binHz));
  x[0] = 2 * x[1] - x[2]; // log2(0) is infinite: go on at the spacing of the first two bins
  const n = bins;
  const fromLast = new Float64Array(n); // coefficients of the elimination
  const back = new Float64Array(n); // coefficient of the back substitution
  const toNext = new Float64Array(n);
  const toPrevious = new Float64Array(n);
  for (let i = 1; i < n - 1; i++) {
    const span = x[i + 1] - x[i - 1];
    const share = (x[i] - x[i - 1]) / span;
    const pivot = 1 / (share * back[i - 1] + 2);
    back[i] = (share - 1) * pivot;
    fromLast[i] = share * pivot;
    toNext[i] = (6 * pivot) / ((x[i + 1] - x[i]) * span);
    toPrevious[i] = (6 * pivot) / ((x[i] - x[i - 1]) * span);
  }
  // For each target point: the left bin and four weights of (y[left], y[right], curvature[left], curvature[right]).
  const left = new Int32Array(n);
  const weights = new Float64Array(4 * n);
  const low = Math.log2(axisMinHz);
  const spacing = (x[n - 1] - low) / (n - 1);
  let k = 0;
  for (let i = 0; i < n; i++) {
    const target = low + i * spacing;
    while (k < n - 2 && x[k + 1] <= target) k++;
    const width = x[k + 1] - x[k];
    const a = (x[k + 1] - target) / width;
    const b = 1 - a;
    left[i] = k;
    const cubic = [a, b, ((a ** 3 - a) * width ** 2) / 6, ((b ** 3 - b) * width ** 2) / 6];
    weights.set(
      cubic.map((w) => w * scales[i]),
      4 * i,
    );
  }
  const curvature = new Float64Array(n);
  const u = new Float64Array(n);
  return (y: Float64Array, out: Float64Array): void => {
    let here = y[1];
    let difference = here - y[0];
    let last = 0;
    for (let i = 1; i < n - 1; i++) {
      const next = y[i + 1];
      const ahead = next - here;
      last = ahead * toNext[i] - difference * toPrevious[i] - fromLast[i] * last;
      u[i] = last;
      here = next;
      difference = ahead;
    }
    last = 0;
    for (let j = n - 2; j >= 0; j--) {
      last = back[j] * last + u[j];
      curvature[j] = last;
    }
    for (let i = 0, w = 0; i < n; i++, w += 4) {
      const l = left[i];
      const value =
        weights[w] * y[l] +
        weights[w + 1] * y[l + 1] +
        weights[w + 2] * curvature[l] +
        weights[w + 3] * curvature[l + 1];
      out[i] = Math.max(value, 0);
    }
  };
}
