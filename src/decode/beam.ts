/**
 * CTC prefix beam search (Hannun et al. 2014): the probability of a label sequence is summed over all its alignments, and a
 * scorer (an n-gram model, a lexicon) may add to it label by label. With no scorer and a beam wide enough the result is exact.
 */
import { logSoftmax } from "./ctc.ts";

/** One way to go on from a scorer's state by a token: the new state, its (weighted) log score, the word it completes. */
export interface Expansion<S> {
  state: S;
  score: number;
  word?: number;
}

/** What a language model or lexicon says about label sequences. */
export interface Scorer<S> {
  start: S;
  /** No entry: the token may not follow. Several: the same label completes different words. */
  expand(state: S, token: number): readonly Expansion<S>[];
  /** Score of ending here and the word that this completes, or undefined where a sequence may not end (inside a word). */
  finish(state: S): { score: number; word?: number } | undefined;
  /** Least upper bound at hand of what an expansion can score: saves asking for those that cannot enter the beam. */
  bound?(state: S): number;
}

export interface BeamOptions<S> {
  /** Index of the blank, default 0. */
  blank?: number;
  /** How many prefixes survive a frame, default 50. */
  width?: number;
  /** How many hypotheses to return, default 1. */
  best?: number;
  /** Labels less likely than exp(-tokenThreshold) at a frame are not tried there; default: all are. */
  tokenThreshold?: number;
  scorer?: Scorer<S>;
}

export interface Hypothesis {
  tokens: number[];
  /** Word numbers that the scorer named, in order. */
  words: number[];
  /** acoustic + scorer. */
  score: number;
  /** Log probability of the tokens, summed over the alignments that survived pruning. */
  acoustic: number;
}

interface Prefix<S> {
  parent: Prefix<S> | undefined;
  token: number;
  word: number | undefined;
  state: S;
  /** Scorer's total so far. */
  bonus: number;
  children: Map<number, Prefix<S>>;
  expansions: (readonly Expansion<S>[])[];
  /** Log mass of alignments that end in a blank, and in the last token. */
  blankEnd: number;
  tokenEnd: number;
  /** Last frame in whose beam the prefix was. */
  frame: number;
}

/** A prefix of the next beam: one that is there already, or one that a parent's `expansion` makes. */
interface Candidate<S> {
  score: number;
  blankEnd: number;
  tokenEnd: number;
  prefix?: Prefix<S>;
  parent?: Prefix<S>;
  token: number;
  expansion?: Expansion<S>;
}

/**
 * The best label sequences of `logits` [frames, vocabulary], best first. Hypotheses that may not end (inside a word) are left
 * out unless there are no others.
 */
export function beamSearch<S = undefined>(
  logits: ArrayLike<number>,
  frames: number,
  vocabulary: number,
  options: BeamOptions<S> = {},
): Hypothesis[] {
  const { blank = 0, width = 50, best = 1, tokenThreshold = Infinity, scorer } = options;
  const logProbs = logSoftmax(logits, frames, vocabulary);
  const free: readonly Expansion<S>[] = [{ state: undefined as S, score: 0 }];
  const root: Prefix<S> = {
    parent: undefined,
    token: -1,
    word: undefined,
    state: scorer ? scorer.start : (undefined as S),
    bonus: 0,
    children: new Map(),
    expansions: [],
    blankEnd: 0,
    tokenEnd: -Infinity,
    frame: -1,
  };
  let beam = [root];

  for (let t = 0; t < frames; t++) {
    const p = logProbs.subarray(t * vocabulary, (t + 1) * vocabulary);
    const candidates = new Best<Candidate<S>>(width);
    const open: number[] = [];
    for (let v = 0; v < vocabulary; v++) if (v !== blank && p[v] >= -tokenThreshold) open.push(v);

    // A prefix stays by a blank or by repeating its last token, or is reached again from its parent.
    for (const prefix of beam) {
      const blankEnd = addLogs(prefix.blankEnd, prefix.tokenEnd) + p[blank];
      let tokenEnd = prefix.token < 0 ? -Infinity : prefix.tokenEnd + p[prefix.token];
      const { parent } = prefix;
      if (parent && parent.frame === t - 1 && p[prefix.token] >= -tokenThreshold)
        tokenEnd = addLogs(tokenEnd, mayExtend(parent, prefix.token) + p[prefix.token]);
      const score = addLogs(blankEnd, tokenEnd) + prefix.bonus;
      if (candidates.admits(score))
        candidates.add({ score, blankEnd, tokenEnd, prefix, token: prefix.token });
    }

    for (const parent of beam) {
      const most = scorer ? (scorer.bound?.(parent.state) ?? Infinity) : 0;
      for (const token of open) {
        const tokenEnd = mayExtend(parent, token) + p[token];
        if (!candidates.admits(tokenEnd + parent.bonus + most)) continue;
        const expansions = scorer ? (parent.expansions[token] ??= scorer.expand(parent.state, token)) : free;
        for (const expansion of expansions) {
          const score = tokenEnd + parent.bonus + expansion.score;
          if (!candidates.admits(score)) continue;
          const prefix = parent.children.get(childKey(token, expansion.word, vocabulary));
          if (prefix && prefix.frame === t - 1) continue;
          candidates.add({ score, blankEnd: -Infinity, tokenEnd, prefix, parent, token, expansion });
        }
      }
    }

    beam = candidates.take().map((candidate) => {
      const prefix = candidate.prefix ?? grow(candidate, vocabulary);
      prefix.blankEnd = candidate.blankEnd;
      prefix.tokenEnd = candidate.tokenEnd;
      prefix.frame = t;
      return prefix;
    });
  }
  return ranking(beam, scorer, best);
}

/** Log mass from which `token` may extend a prefix: after its own last token only through a blank. */
function mayExtend<S>(prefix: Prefix<S>, token: number): number {
  return token === prefix.token ? prefix.blankEnd : addLogs(prefix.blankEnd, prefix.tokenEnd);
}

/** Children are kept although they leave the beam, so that a sequence is always one object. */
const childKey = (token: number, word: number | undefined, vocabulary: number) =>
  token + vocabulary * (word === undefined ? 0 : word + 1);

function grow<S>({ parent, token, expansion }: Candidate<S>, vocabulary: number): Prefix<S> {
  const { state, score, word } = expansion!;
  const prefix: Prefix<S> = {
    parent,
    token,
    word,
    state,
    bonus: parent!.bonus + score,
    children: new Map(),
    expansions: [],
    blankEnd: -Infinity,
    tokenEnd: -Infinity,
    frame: -1,
  };
  parent!.children.set(childKey(token, word, vocabulary), prefix);
  return prefix;
}

function ranking<S>(beam: Prefix<S>[], scorer: Scorer<S> | undefined, best: number): Hypothesis[] {
  const ended = beam.map((prefix) => ({ prefix, end: scorer ? scorer.finish(prefix.state) : { score: 0 } }));
  const complete = ended.filter(({ end }) => end !== undefined);
  return (complete.length > 0 ? complete : ended)
    .map(({ prefix, end }) => {
      const acoustic = addLogs(prefix.blankEnd, prefix.tokenEnd);
      const hypothesis: Hypothesis = {
        tokens: [],
        words: [],
        score: acoustic + prefix.bonus + (end?.score ?? 0),
        acoustic,
      };
      if (end?.word !== undefined) hypothesis.words.push(end.word);
      for (let at = prefix; at.parent; at = at.parent) {
        hypothesis.tokens.push(at.token);
        if (at.word !== undefined) hypothesis.words.push(at.word);
      }
      hypothesis.tokens.reverse();
      hypothesis.words.reverse();
      return hypothesis;
    })
    .sort((a, b) => b.score - a.score)
    .slice(0, best);
}

/** log(exp(a) + exp(b)) */
export function addLogs(a: number, b: number): number {
  const max = Math.max(a, b);
  return max === -Infinity ? max : max + Math.log1p(Math.exp(Math.min(a, b) - max));
}

/** The `size` items of highest score; among equals, those that came first. A binary heap with the worst on top. */
class Best<T extends { score: number }> {
  private readonly size: number;
  private readonly heap: T[] = [];

  constructor(size: number) {
    this.size = size;
  }

  /** Would an item with this score get in? */
  admits(score: number): boolean {
    return score > -Infinity && (this.heap.length < this.size || score > this.heap[0].score);
  }

  /** Only for scores that `admits` lets in. */
  add(item: T): void {
    const { heap } = this;
    let at = heap.length;
    if (at < this.size) {
      for (heap.push(item); at > 0; ) {
        const up = (at - 1) >> 1;
        if (heap[up].score <= item.score) break;
        heap[at] = heap[up];
        at = up;
      }
    } else {
      for (at = 0; ; ) {
        let down = 2 * at + 1;
        if (down + 1 < heap.length && heap[down + 1].score < heap[down].score) down++;
        if (down >= heap.length || heap[down].score >= item.score) break;
        heap[at] = heap[down];
        at = down;
      }
    }
    heap[at] = item;
  }

  take(): T[] {
    return this.heap.sort((a, b) => b.score - a.score);
  }
}
