/**
 * Connectionist temporal classification at inference (Graves et al. 2006): best path, spans in time, forced alignment.
 * Logits are row-major [frames, vocabulary], unnormalised; the blank is index 0 unless said otherwise.
 */
import { UserError } from "../errors.ts";

/** One emitted symbol and the frames that emit it (blanks around it not counted). */
export interface CtcSpan {
  token: number;
  /** `symbols[token]` where symbols were given, otherwise the index as text. */
  symbol: string;
  startFrame: number;
  /** Exclusive. */
  endFrame: number;
  /** Geometric mean of the symbol's posterior over its frames, in (0, 1]. */
  score: number;
}

export interface CtcOptions {
  /** Index of the blank, default 0. */
  blank?: number;
  /** Names of the vocabulary's entries. */
  symbols?: readonly string[];
}

/** Log posteriors [frames, vocabulary] in double precision. */
export function logSoftmax(logits: ArrayLike<number>, frames: number, vocabulary: number): Float64Array {
  if (logits.length !== frames * vocabulary)
    throw new RangeError(`${logits.length} logits are not ${frames} frames of ${vocabulary}`);
  const out = new Float64Array(logits.length);
  for (let at = 0; at < out.length; at += vocabulary) {
    let max = -Infinity;
    for (let v = 0; v < vocabulary; v++) max = Math.max(max, logits[at + v]);
    let sum = 0;
    for (let v = 0; v < vocabulary; v++) sum += Math.exp(logits[at + v] - max);
    const logSum = max + Math.log(sum);
    for (let v = 0; v < vocabulary; v++) out[at + v] = logits[at + v] - logSum;
  }
  return out;
}

/** Best path: the likeliest entry of each frame (the lower index among equals), repeats merged, blanks dropped. */
export function greedyDecode(
  logits: ArrayLike<number>,
  frames: number,
  vocabulary: number,
  options: CtcOptions = {},
): CtcSpan[] {
  const logProbs = logSoftmax(logits, frames, vocabulary);
  const path = new Int32Array(frames);
  for (let t = 0; t < frames; t++)
    for (let v = 1; v < vocabulary; v++)
      if (logProbs[t * vocabulary + v] > logProbs[t * vocabulary + path[t]]) path[t] = v;
  return spansOf(path, path, logProbs, vocabulary, options);
}

/**
 * Forced alignment: the likeliest path that spells `targets` (Viterbi over the targets interleaved with blanks), one span per
 * target. Throws a `UserError` where no path exists: equal neighbours need a blank between them.
 */
export function forcedAlign(
  logits: ArrayLike<number>,
  frames: number,
  vocabulary: number,
  targets: readonly number[],
  options: CtcOptions = {},
): CtcSpan[] {
  const { blank = 0 } = options;
  const wrong = targets.find((token) => !(token >= 0 && token < vocabulary) || token === blank);
  if (wrong !== undefined)
    throw new UserError(
      wrong === blank
        ? `cannot align: the target contains the blank (index ${blank})`
        : `cannot align: target index ${wrong} is outside the vocabulary of ${vocabulary}`,
    );
  const repeats = targets.filter((token, i) => i > 0 && token === targets[i - 1]).length;
  const needed = targets.length + repeats;
  if (frames < needed)
    throw new UserError(
      `cannot align: ${targets.length} symbols${repeats > 0 ? ` with ${repeats} repeated in a row` : ""} need ` +
        `at least ${needed} frames, the recording has ${frames}`,
    );
  if (targets.length === 0) return [];

  const logProbs = logSoftmax(logits, frames, vocabulary);
  // State 2i is the blank before target i, state 2i + 1 the target.
  const states = 2 * targets.length + 1;
  const label = (state: number) => (state % 2 === 1 ? targets[(state - 1) / 2] : blank);
  let score = new Float64Array(states).fill(-Infinity);
  const step = new Uint8Array(frames * states);
  score[0] = logProbs[blank];
  score[1] = logProbs[targets[0]];
  for (let t = 1; t < frames; t++) {
    const next = new Float64Array(states);
    for (let s = 0; s < states; s++) {
      let best = 0;
      if (s >= 1 && score[s - 1] > score[s]) best = 1;
      const maySkip = s >= 3 && s % 2 === 1 && label(s) !== label(s - 2);
      if (maySkip && score[s - 2] > score[s - best]) best = 2;
      step[t * states + s] = best;
      next[s] = score[s - best] + logProbs[t * vocabulary + label(s)];
    }
    score = next;
  }
  const path = new Int32Array(frames);
  let state = score[states - 1] > score[states - 2] ? states - 1 : states - 2;
  for (let t = frames - 1; t >= 0; t--) {
    path[t] = state;
    state -= step[t * states + state];
  }
  return spansOf(path, path.map(label), logProbs, vocabulary, options);
}

/** Runs of equal `path` entries whose label is not the blank. */
function spansOf(
  path: Int32Array,
  labels: Int32Array,
  logProbs: Float64Array,
  vocabulary: number,
  { blank = 0, symbols }: CtcOptions,
): CtcSpan[] {
  const spans: CtcSpan[] = [];
  for (let start = 0; start < path.length; ) {
    let end = start;
    let sum = 0;
    while (end < path.length && path[end] === path[start]) sum += logProbs[end * vocabulary + labels[end++]];
    const token = labels[start];
    if (token !== blank)
      spans.push({
        token,
        symbol: symbols?.[token] ?? String(token),
        startFrame: start,
        endFrame: end,
        score: Math.exp(sum / (end - start)),
      });
    start = end;
  }
  return spans;
}

/**
 * Spans as the stretches of the recording that they stand for. CTC marks a symbol with a peak and leaves the rest of it to
 * the blank, so neighbours share the blanks between them evenly, but none takes more than `reach` frames on a side, nor
 * a frame that is `silent`: what is left is silence. Bounds may lie half way between frames.
 */
export function fillGaps(
  spans: readonly CtcSpan[],
  frames: number,
  reach: number,
  silent: (frame: number) => boolean = () => false,
): CtcSpan[] {
  /** Frames from `edge` on, in a direction, up to the first silent one. */
  const sounding = (edge: number, direction: 1 | -1, limit: number) => {
    let count = 0;
    while (count < limit && !silent(direction > 0 ? edge + count : edge - 1 - count)) count++;
    return Math.min(count, limit);
  };
  return spans.map((span, i) => {
    const [last, next] = [spans[i - 1], spans[i + 1]];
    const before = last === undefined ? span.startFrame : (span.startFrame - last.endFrame) / 2;
    const after = next === undefined ? frames - span.endFrame : (next.startFrame - span.endFrame) / 2;
    return {
      ...span,
      startFrame: span.startFrame - sounding(span.startFrame, -1, Math.min(reach, before)),
      endFrame: span.endFrame + sounding(span.endFrame, 1, Math.min(reach, after)),
    };
  });
}

/** The instant, in seconds, at which a frame begins; wav2vec 2.0 and its kin hop by 320 samples at 16 kHz. */
export const frameSeconds = (frame: number, hop = 320, sampleRate = 16000): number =>
  (frame * hop) / sampleRate;
