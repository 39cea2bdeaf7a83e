/** CTC decoding of logits that come piece by piece: what a long recording needs. */
import type { BeamSearch, HeardSpan } from "./beam.ts";
import { logSoftmax } from "./ctc.ts";

/** Hears frames as they come. Whatever the pieces, all spans together are those of the whole. */
export interface CtcStream {
  /** Further logits, [frames, vocabulary]. */
  push(logits: ArrayLike<number>, frames: number): void;
  /** Spans that are settled since the last call, in order. */
  take(): HeardSpan[];
  /** All that is left. */
  finish(): HeardSpan[];
}

/** Best path, as `greedyDecode`. */
export class GreedyStream implements CtcStream {
  private readonly vocabulary: number;
  private readonly blank: number;
  private frame = 0;
  private settled: HeardSpan[] = [];
  /** The run of equal labels that the last frame belongs to. */
  private run = { token: -1, start: 0, sum: 0 };

  constructor(vocabulary: number, options: { blank?: number } = {}) {
    this.vocabulary = vocabulary;
    this.blank = options.blank ?? 0;
  }

  push(logits: ArrayLike<number>, frames: number): void {
    const { vocabulary } = this;
    const logProbs = logSoftmax(logits, frames, vocabulary);
    for (let t = 0; t < frames; t++, this.frame++) {
      let best = 0;
      for (let v = 1; v < vocabulary; v++)
        if (logProbs[t * vocabulary + v] > logProbs[t * vocabulary + best]) best = v;
      if (best !== this.run.token) {
        this.close();
        this.run = { token: best, start: this.frame, sum: 0 };
      }
      this.run.sum += logProbs[t * vocabulary + best];
    }
  }

  private close(): void {
    const { token, start, sum } = this.run;
    if (token < 0 || token === this.blank) return;
    const score = Math.exp(sum / (this.frame - start));
    this.settled.push({ token, symbol: String(token), startFrame: start, endFrame: this.frame, score });
  }

  take(): HeardSpan[] {
    const out = this.settled;
    this.settled = [];
    return out;
  }

  finish(): HeardSpan[] {
    this.close();
    this.run = { token: -1, start: this.frame, sum: 0 };
    return this.take();
  }
}

/** Beam search, as `beamSearch`; only the best hypothesis is told. */
export class BeamStream<S> implements CtcStream {
  private readonly search: BeamSearch<S>;

  constructor(search: BeamSearch<S>) {
    this.search = search;
  }

  push(logits: ArrayLike<number>, frames: number): void {
    this.search.push(logits, frames);
  }

  take(): HeardSpan[] {
    return this.search.take();
  }

  finish(): HeardSpan[] {
    return this.search.finish()[0].spans;
  }
}
