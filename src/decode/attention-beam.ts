import { type Sequence, sequenceBeam } from "./sequence-beam.ts";

/** How a decoder with attention is searched: SpeechBrain's conditions on what may be written. */
export interface AttentionSearch {
  /** Sequences that are followed at once. */
  readonly beam: number;
  /** The end may only come where its log probability is above so many times that of the likeliest symbol. */
  readonly eosThreshold: number;
  /** Frames that the place of most attention moves at most from one symbol to the next, either way. */
  readonly maxShift: number;
  /** Factor of the penalty on looking at frames that were looked at before (Chorowski and Jaitly 2016). */
  readonly coverage: number;
}

/** What a decoder makes of one more symbol of each beam. */
export interface AttentionStep {
  /** Log probabilities of what follows [beams, vocabulary]. */
  readonly logs: ArrayLike<number>;
  /** Where it looked [beams, frames]. */
  readonly attention: ArrayLike<number>;
  /** What others say of it [beams, vocabulary], weighted already: a language model in shallow fusion. */
  readonly fused?: ArrayLike<number>;
}

export interface AttentionBeamOptions extends AttentionSearch {
  /** Given first, and ends a sequence. */
  readonly start: number;
  readonly end: number;
  readonly longest: number;
  readonly forbidden?: readonly number[];
  /** As in `sequenceBeam`. */
  step(tokens: readonly number[], parents: readonly number[]): Promise<AttentionStep>;
}

/** Log probability of what may not be: finite, so that sums of it can be compared. */
const NEVER = -1e20;
/** Attention that a frame may have had in all before more of it costs. */
const SEEN = 0.5;

/** The finished sequence with the highest score per symbol. */
export async function attentionBeam({ step, ...options }: AttentionBeamOptions): Promise<Sequence> {
  const { beam: width, eosThreshold, maxShift, coverage: factor } = options;
  let written = 0;
  let peaks: number[] = [0];
  let covered: Float64Array[] = [];
  return sequenceBeam({
    ...{ ...options, width },
    async step(tokens, parents) {
      const { logs, attention, fused } = await step(tokens, parents);
      const [vocabulary, frames] = [logs.length / tokens.length, attention.length / tokens.length];
      written++;
      const rows = tokens.map((_, beam) =>
        Float64Array.from({ length: frames }, (_, t) => attention[beam * frames + t]),
      );
      const seen = rows.map((row, beam) => {
        const before = covered[parents[beam]];
        return before === undefined ? row : row.map((share, t) => share + before[t]);
      });
      const out = new Float32Array(logs.length);
      const now = rows.map(peakOf);
      for (const beam of tokens.keys()) {
        const row = Array.from({ length: vocabulary }, (_, v) => logs[beam * vocabulary + v]);
        const astray = Math.abs(now[beam] - peaks[parents[beam]]) > maxShift;
        // What is as long as it may be must end.
        const mayEnd =
          written === options.longest ||
          row[options.end] > eosThreshold * Math.max(...row.filter((_, v) => v !== options.end));
        const penalty =
          (factor * seen[beam].reduce((sum, share) => sum + Math.max(0, share - SEEN), 0)) / written;
        for (const [v, log] of row.entries()) {
          const barred = astray || (v === options.end && !mayEnd);
          const at = beam * vocabulary + v;
          out[at] = (barred ? NEVER : log) + (fused?.[at] ?? 0) - penalty;
        }
      }
      [peaks, covered] = [now, seen];
      return out;
    },
  });
}

const peakOf = (row: Float64Array): number =>
  row.reduce((best, share, t) => (share > row[best] ? t : best), 0);
