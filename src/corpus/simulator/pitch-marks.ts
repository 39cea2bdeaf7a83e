/**
 * Fundamental frequency and pitch marks, as pitch-synchronous resynthesis needs them: normalised cross-correlation with
 * a dynamic programme over candidates, after D. Talkin, "A robust algorithm for pitch tracking (RAPT)", 1995. Simpler
 * than that, and not meant for measuring: the acoustic features have their own tracker.
 */

/** Frames a second of everything in this file. */
export const framesPerSecond = 200;

const lowest = 60;
const highest = 500;
/** Candidates kept per frame, beside "unvoiced". */
const candidates = 4;

/** Hz per frame, 0 where unvoiced [frames]; frame f is centred on f / framesPerSecond. */
export function trackPitch(samples: Float32Array, sampleRate: number): Float32Array {
  // The fundamental lies below 500 Hz: 4 kHz are enough, a quarter of the work. Two means over blocks, which take the
  // high harmonics away, keep peaks wide, so that none falls between two lags and loses to its double.
  const block = Math.max(1, Math.floor(sampleRate / 4000));
  const rate = sampleRate / block;
  const low = new Float32Array(Math.floor(samples.length / block));
  for (let i = 0; i < low.length; i++) {
    let sum = 0;
    for (let j = 0; j < block; j++) sum += samples[i * block + j];
    low[i] = sum / block;
  }
  for (let i = low.length - 1; i > 0; i--) low[i] = 0.5 * (low[i] + low[i - 1]);
  let loudest = 0;
  for (const x of low) loudest = Math.max(loudest, Math.abs(x));
  const frames = Math.floor((samples.length / sampleRate) * framesPerSecond) + 1;
  const shortest = Math.floor(rate / highest);
  const longest = Math.ceil(rate / lowest);
  const window = Math.round(rate * 0.015);
  const lags: number[][] = [];
  const scores: number[][] = [];
  for (let frame = 0; frame < frames; frame++) {
    const centre = Math.round((frame / framesPerSecond) * rate);
    const found = periodCandidates(low, centre, window, shortest, longest, loudest);
    lags.push([0, ...found.map((c) => c.lag)]);
    scores.push([0.55, ...found.map((c) => c.score)]);
  }
  return bestPath(lags, scores).map((lag) => (lag === 0 ? 0 : rate / lag));
}

/** Peaks of the normalised cross-correlation around `centre`; longer lags cost a little, against octave errors. */
function periodCandidates(
  x: Float32Array,
  centre: number,
  window: number,
  shortest: number,
  longest: number,
  loudest: number,
): { lag: number; score: number }[] {
  const values: number[] = [];
  const floor = window * (0.01 * loudest) ** 2;
  for (let lag = shortest - 1; lag <= longest + 1; lag++) {
    const start = centre - ((window + lag) >> 1);
    if (start < 0 || start + window + lag > x.length) {
      values.push(0);
      continue;
    }
    let cross = 0;
    let first = floor;
    let second = floor;
    for (let i = start; i < start + window; i++) {
      cross += x[i] * x[i + lag];
      first += x[i] ** 2;
      second += x[i + lag] ** 2;
    }
    values.push(cross / Math.sqrt(first * second + 1e-20));
  }
  const peaks: { lag: number; score: number }[] = [];
  for (let i = 1; i + 1 < values.length; i++) {
    const [a, b, c] = [values[i - 1], values[i], values[i + 1]];
    if (b < 0.3 || b < a || b <= c) continue;
    const offset = (0.5 * (a - c)) / (a - 2 * b + c);
    const lag = shortest - 1 + i + offset;
    peaks.push({ lag, score: b - 0.25 * (a - c) * offset - (0.15 * lag) / longest });
  }
  return peaks.sort((p, q) => q.score - p.score).slice(0, candidates);
}

/** Viterbi: the sequence of candidates with the highest sum of scores minus the cost of jumps (in octaves). */
function bestPath(lags: number[][], scores: number[][]): Float32Array {
  let total = scores[0];
  const back: number[][] = [[]];
  for (let t = 1; t < lags.length; t++) {
    const from: number[] = [];
    total = lags[t].map((lag, j) => {
      let best = Number.NEGATIVE_INFINITY;
      lags[t - 1].forEach((previous, i) => {
        const bothVoiced = previous > 0 && lag > 0;
        const jump = bothVoiced ? 2 * Math.abs(Math.log2(lag / previous)) : previous === lag ? 0 : 0.25;
        if (total[i] - jump > best) {
          best = total[i] - jump;
          from[j] = i;
        }
      });
      return best + scores[t][j];
    });
    back.push(from);
  }
  const path = new Float32Array(lags.length);
  let at = total.indexOf(Math.max(...total));
  for (let t = lags.length - 1; t >= 0; t--) {
    path[t] = lags[t][at];
    at = back[t][at];
  }
  return path;
}

export interface Mark {
  /** Sample of the pulse, or of a plain grid where unvoiced. */
  at: number;
  voiced: boolean;
}

/**
 * Marks one period apart where voiced, 5 ms apart elsewhere. The first of a voiced stretch is at the largest pulse of
 * `residual`; each further one is where `samples` look most like they did around the last, so that all are at the same
 * place of their period.
 */
export function pitchMarks(
  samples: Float32Array,
  residual: Float32Array,
  sampleRate: number,
  f0: Float32Array,
): Mark[] {
  const marks: Mark[] = [{ at: 0, voiced: false }];
  const grid = Math.round(sampleRate / framesPerSecond);
  const pitchAt = (sample: number) =>
    f0[Math.min(f0.length - 1, Math.round((sample / sampleRate) * framesPerSecond))];
  while (true) {
    const last = marks[marks.length - 1];
    const pitch = pitchAt(last.at);
    let next = Math.round(last.at + (pitch > 0 ? sampleRate / pitch : grid));
    const voiced = pitchAt(next) > 0;
    if (voiced) {
      const period = sampleRate / pitchAt(next);
      next = last.voiced
        ? mostAlike(samples, last.at, next, 0.15 * period, 0.5 * period)
        : largest(residual, Math.max(last.at + 0.4 * period, next - 0.5 * period), next + 0.5 * period);
    }
    if (next >= residual.length - 1) break;
    marks.push({ at: next, voiced });
  }
  return marks;
}

/** The place within `reach` of `due` around which `x` correlates best with x around `from`. */
function mostAlike(x: Float32Array, from: number, due: number, reach: number, half: number): number {
  let best = due;
  let highest = Number.NEGATIVE_INFINITY;
  const width = Math.round(half);
  for (let place = Math.ceil(due - reach); place <= due + reach; place++) {
    let cross = 0;
    let energy = 1e-9;
    const low = -Math.min(width, from, place);
    const high = Math.min(width, x.length - 1 - place);
    for (let i = low; i <= high; i++) {
      cross += x[from + i] * x[place + i];
      energy += x[place + i] ** 2;
    }
    const score = cross / Math.sqrt(energy);
    if (score > highest) {
      highest = score;
      best = place;
    }
  }
  return best;
}

function largest(x: Float32Array, from: number, to: number): number {
  const start = Math.max(0, Math.round(from));
  let best = start;
  for (let i = start; i <= Math.min(x.length - 1, Math.round(to)); i++) {
    if (Math.abs(x[i]) > Math.abs(x[best])) best = i;
  }
  return best;
}
