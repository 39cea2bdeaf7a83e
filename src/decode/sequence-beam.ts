import { f32, type Value } from "../runtime/program.ts";

/** Beam search for decoders that write one symbol after the other (Sutskever et al. 2014), as fairseq runs it. */

export interface SequenceBeamOptions {
  /** The symbol that is given first, and the one that ends a sequence. */
  readonly start: number;
  readonly end: number;
  /** Sequences that are followed at once. */
  readonly width: number;
  /** Symbols of a sequence at most, its end included. */
  readonly longest: number;
  /** Symbols that are never written. */
  readonly forbidden?: readonly number[];
  /**
   * Log-probabilities [beams, vocabulary] of what follows `tokens`, the newest symbol of each beam; `parents` says of which
   * beam of the call before each one is a continuation.
   */
  step(tokens: readonly number[], parents: readonly number[]): Promise<Float32Array> | Float32Array;
}

export interface Sequence {
  /** Without start and end. */
  readonly tokens: readonly number[];
  /** Log-probability per symbol, the end included. */
  readonly score: number;
}

interface Live {
  readonly tokens: readonly number[];
  readonly score: number;
}

/** The finished sequence with the highest log-probability per symbol. */
export async function sequenceBeam(options: SequenceBeamOptions): Promise<Sequence> {
  const { start, end, width, longest, forbidden = [] } = options;
  let live: Live[] = [{ tokens: [], score: 0 }];
  let parents: number[] = [0];
  const finished: Sequence[] = [];
  for (let length = 1; length <= longest && finished.length < width; length++) {
    const newest = live.map(({ tokens }) => tokens.at(-1) ?? start);
    const logs = await options.step(newest, parents);
    const vocabulary = logs.length / live.length;
    const last = length === longest;
    const candidates = new Best(2 * width);
    for (const [beam, { score }] of live.entries())
      for (let token = 0; token < vocabulary; token++) {
        // What must end now ends, however unlikely.
        if (last ? token !== end : forbidden.includes(token)) continue;
        candidates.offer(beam, token, score + logs[beam * vocabulary + token]);
      }
    const next: Live[] = [];
    parents = [];
    for (const [rank, { beam, token, score }] of candidates.all.entries()) {
      const { tokens } = live[beam];
      // An end counts only where it is among the beam's best: otherwise short sequences would crowd in.
      if (token === end) {
        if (rank < width) finished.push({ tokens, score: score / length });
      } else if (next.length < width) {
        next.push({ tokens: [...tokens, token], score });
        parents.push(beam);
      }
    }
    live = next;
    if (live.length === 0) break;
  }
  return finished.reduce((best, each) => (each.score > best.score ? each : best));
}

/** The candidates of highest score in falling order; among equals, those that came first. */
class Best {
  readonly all: { beam: number; token: number; score: number }[] = [];
  private readonly size: number;

  constructor(size: number) {
    this.size = size;
  }

  offer(beam: number, token: number, score: number): void {
    const { all, size } = this;
    if (all.length === size && !(score > all[size - 1].score)) return;
    let [low, high] = [0, all.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (all[middle].score >= score) low = middle + 1;
      else high = middle;
    }
    all.splice(low, 0, { beam, token, score });
    if (all.length > size) all.pop();
  }
}

/** The rows of each memory that the beams go on from. */
export function reordered(
  memory: Readonly<Record<string, Value>>,
  parents: readonly number[],
): Record<string, Value> {
  return Object.fromEntries(
    Object.entries(memory).map(([name, { shape, data }]) => {
      const width = shape.slice(1).reduce((a, b) => a * b, 1);
      const out = new Float32Array(parents.length * width);
      for (const [row, parent] of parents.entries())
        out.set((data as Float32Array).subarray(parent * width, (parent + 1) * width), row * width);
      return [name, f32([parents.length, ...shape.slice(1)], out)];
    }),
  );
}
