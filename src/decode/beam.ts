/**
 * CTC prefix beam search (Hannun et al. 2014): the probability of a label sequence is summed over all its alignments, and a
 * scorer (an n-gram model, a lexicon) may add to it label by label. With no scorer and a beam wide enough the result is exact.
 */
import { type CtcSpan, logSoftmax } from "./ctc.ts";

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
  /** Upper bound at hand of what an expansion, or one by `token`, can score: saves asking for those that cannot enter the beam. */
  bound?(state: S, token?: number): number;
  /** All tokens that may follow, where these are few. */
  follow?(state: S): readonly number[];
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

/** A symbol of a hypothesis, where its likeliest alignment puts it. */
export interface HeardSpan extends CtcSpan {
  /** Number of the word that it completes, where the scorer names words. */
  word?: number;
}

export interface Hypothesis {
  tokens: number[];
  /** Word numbers that the scorer named, in order. */
  words: number[];
  /** acoustic + scorer. */
  score: number;
  /** Log probability of the tokens, summed over the alignments that survived pruning. */
  acoustic: number;
  /** One for each token. */
  spans: HeardSpan[];
}

/** The likeliest single alignment of a prefix so far: its log probability, and where it puts the last token. */
interface Path {
  readonly logProb: number;
  readonly link: Link | undefined;
}

/** Frames [start, end) of a token, the sum of its log posterior over them, and the same of the token before. */
interface Link {
  readonly start: number;
  readonly end: number;
  readonly sum: number;
  prev: Link | undefined;
}

const impossible: Path = { logProb: -Infinity, link: undefined };
const likelier = (a: Path, b: Path): Path => (b.logProb > a.logProb ? b : a);

interface Prefix<S> {
  parent: Prefix<S> | undefined;
  token: number;
  word: number | undefined;
  state: S;
  /** Scorer's total so far. */
  bonus: number;
  children: Map<number, Prefix<S>> | undefined;
  expansions: (readonly Expansion<S>[])[];
  /** Log mass of alignments that end in a blank, and in the last token. */
  blankEnd: number;
  tokenEnd: number;
  blankPath: Path;
  tokenPath: Path;
  /** Last frame in whose beam the prefix was. */
  frame: number;
}

/** A prefix of the next beam: one that is there already, or one that a parent's `expansion` makes. */
interface Candidate<S> {
  score: number;
  blankEnd: number;
  tokenEnd: number;
  prefix: Prefix<S> | undefined;
  /** Where it is extended from, or of one that stays, what reaches it again. */
  parent: Prefix<S> | undefined;
  token: number;
  /** Absent where the prefix was in the beam before. */
  expansion: Expansion<S> | undefined;
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
  const search = new BeamSearch(vocabulary, options);
  search.push(logits, frames);
  return search.finish();
}

/**
 * The same for logits that come piece by piece, without end: whatever the pieces, the result is that of all frames at once.
 * `take` hands out what no hypothesis disputes any more, and forgets it.
 */
export class BeamSearch<S = undefined> {
  private readonly vocabulary: number;
  private readonly options: BeamOptions<S>;
  private readonly free: readonly Expansion<S>[] = [{ state: undefined as S, score: 0 }];
  private root: Prefix<S>;
  private beam: Prefix<S>[];
  private frame = 0;

  constructor(vocabulary: number, options: BeamOptions<S> = {}) {
    this.vocabulary = vocabulary;
    this.options = options;
    const { scorer } = options;
    this.root = {
      parent: undefined,
      token: -1,
      word: undefined,
      state: scorer ? scorer.start : (undefined as S),
      bonus: 0,
      children: undefined,
      expansions: [],
      blankEnd: 0,
      tokenEnd: -Infinity,
      blankPath: { logProb: 0, link: undefined },
      tokenPath: impossible,
      frame: -1,
    };
    this.beam = [this.root];
  }

  /** Hears further frames. */
  push(logits: ArrayLike<number>, frames: number): void {
    const logProbs = logSoftmax(logits, frames, this.vocabulary);
    for (let t = 0; t < frames; t++)
      this.step(logProbs.subarray(t * this.vocabulary, (t + 1) * this.vocabulary));
  }

  private step(p: Float64Array): void {
    const { vocabulary, beam } = this;
    const { blank = 0, width = 50, tokenThreshold = Infinity, scorer } = this.options;
    const t = this.frame++;
    const candidates = new Best<Candidate<S>>(width);
    const open: number[] = [];
    for (let v = 0; v < vocabulary; v++) if (v !== blank && p[v] >= -tokenThreshold) open.push(v);
    // Likelier ones first: once one cannot enter the beam, the others cannot either.
    open.sort((a, b) => p[b] - p[a] || a - b);

    // A prefix stays by a blank or by repeating its last token, or is reached again from its parent.
    for (const prefix of beam) {
      const { token, parent } = prefix;
      const blankEnd = total(prefix) + p[blank];
      let tokenEnd = token < 0 ? -Infinity : prefix.tokenEnd + p[token];
      const reached = parent && parent.frame === t - 1 && p[token] >= -tokenThreshold ? parent : undefined;
      if (reached) tokenEnd = addLogs(tokenEnd, mayExtend(reached, token) + p[token]);
      const score = addLogs(blankEnd, tokenEnd) + prefix.bonus;
      if (candidates.admits(score))
        candidates.add({ score, blankEnd, tokenEnd, prefix, parent: reached, token, expansion: undefined });
    }

    for (const parent of beam) {
      const { state, bonus, expansions } = parent;
      const all = total(parent);
      const most = scorer ? (scorer.bound?.(state) ?? Infinity) : 0;
      const few = scorer?.follow?.(state);
      for (const token of few ?? open) {
        if (!candidates.admits(all + p[token] + bonus + most)) {
          if (few) continue;
          break;
        }
        if (few && (token === blank || p[token] < -tokenThreshold)) continue;
        const tokenEnd = (token === parent.token ? parent.blankEnd : all) + p[token];
        let ways: readonly Expansion<S>[];
        if (scorer) {
          if (expansions[token] === undefined) {
            const limit = scorer.bound?.(state, token) ?? Infinity;
            if (!candidates.admits(tokenEnd + bonus + limit)) continue;
            expansions[token] = scorer.expand(state, token);
          }
          ways = expansions[token];
        } else ways = this.free;
        for (const expansion of ways) {
          const score = tokenEnd + bonus + expansion.score;
          if (!candidates.admits(score)) continue;
          const prefix = parent.children?.get(childKey(token, expansion.word, vocabulary));
          if (prefix && prefix.frame === t - 1) continue;
          candidates.add({ score, blankEnd: -Infinity, tokenEnd, prefix, parent, token, expansion });
        }
      }
    }

    // Alignments are followed for those alone that stay, from the paths of the frame before: all are found before any is written.
    const kept = candidates.take();
    const paths = kept.map((candidate) => pathsOf(candidate, p, blank, t));
    this.beam = kept.map((candidate, i) => {
      const prefix = candidate.prefix ?? grow(candidate, vocabulary);
      prefix.blankEnd = candidate.blankEnd;
      prefix.tokenEnd = candidate.tokenEnd;
      [prefix.blankPath, prefix.tokenPath] = paths[i];
      prefix.frame = t;
      return prefix;
    });
  }

  /**
   * The symbols since the last call that all hypotheses share, in the same places; they are let go.
   */
  take(): HeardSpan[] {
    const anchor = this.settled();
    if (anchor === this.root) return [];
    const path = prefixesTo(anchor, this.root);
    const [first] = this.beam;
    const spans = spansOf(prefixesTo(first, this.root), first).slice(0, path.length);
    // Only what leads from the anchor to the beam stays; what hangs on other branches can never come back.
    const kept = new Set<Prefix<S>>([anchor]);
    for (const prefix of this.beam) {
      const tail = prefixesTo(prefix, anchor);
      for (const each of tail) kept.add(each);
      for (const { link } of [prefix.blankPath, prefix.tokenPath]) {
        const last = back(link, tail.length - 1);
        if (last) last.prev = undefined;
      }
    }
    for (const prefix of kept)
      for (const [key, child] of prefix.children ?? []) if (!kept.has(child)) prefix.children!.delete(key);
    anchor.parent = undefined;
    this.root = anchor;
    return spans;
  }

  /** The deepest prefix that all of the beam goes through, in the same frames, and that can grow no more itself. */
  private settled(): Prefix<S> {
    const { beam, root } = this;
    const chains = beam.map((prefix) => prefixesTo(prefix, root));
    let depth = Math.min(...chains.map((chain) => chain.length)) - 1;
    while (depth > 0 && !chains.every((chain) => chain[depth - 1] === chains[0][depth - 1])) depth--;
    const links = beam.flatMap(({ blankPath, tokenPath }, i) =>
      [blankPath, tokenPath].flatMap(({ link }) =>
        link === undefined ? [] : [back(link, chains[i].length - depth)],
      ),
    );
    for (; depth > 0 && links.some((link) => link !== links[0]); depth--)
      for (const [i, link] of links.entries()) links[i] = link?.prev;
    return depth > 0 ? chains[0][depth - 1] : root;
  }

  /** The best hypotheses of what is left, best first: of everything where nothing was taken. */
  finish(): Hypothesis[] {
    const { scorer, best = 1 } = this.options;
    const ended = this.beam.map((prefix) => ({
      prefix,
      end: scorer ? scorer.finish(prefix.state) : { score: 0 },
    }));
    const complete = ended.filter(({ end }) => end !== undefined);
    return (complete.length > 0 ? complete : ended)
      .map(({ prefix, end }) => this.hypothesis(prefix, end))
      .sort((a, b) => b.score - a.score)
      .slice(0, best);
  }

  private hypothesis(prefix: Prefix<S>, end: { score: number; word?: number } | undefined): Hypothesis {
    const acoustic = total(prefix);
    const path = prefixesTo(prefix, this.root);
    const spans = spansOf(path, prefix);
    const words = path.flatMap(({ word }) => (word === undefined ? [] : [word]));
    const last = spans.at(-1);
    if (end?.word !== undefined) {
      words.push(end.word);
      if (last !== undefined) last.word = end.word;
    }
    const score = acoustic + prefix.bonus + (end?.score ?? 0);
    return { tokens: path.map(({ token }) => token), words, score, acoustic, spans };
  }
}

/** Log mass of all alignments of a prefix. */
const total = <S>({ blankEnd, tokenEnd }: Prefix<S>): number => addLogs(blankEnd, tokenEnd);

/** The prefixes from below `root` down to `prefix`. */
function prefixesTo<S>(prefix: Prefix<S>, root: Prefix<S>): Prefix<S>[] {
  const out: Prefix<S>[] = [];
  for (let at: Prefix<S> | undefined = prefix; at && at !== root && at.parent; at = at.parent) out.push(at);
  return out.reverse();
}

/** The places of a hypothesis's symbols, by its likeliest alignment. */
function spansOf<S>(path: readonly Prefix<S>[], { blankPath, tokenPath }: Prefix<S>): HeardSpan[] {
  const links: Link[] = [];
  for (let link = likelier(blankPath, tokenPath).link; link; link = link.prev) links.push(link);
  links.reverse();
  return path.map(({ token, word }, i) => {
    const { start, end, sum } = links[i];
    const span: HeardSpan = {
      token,
      symbol: String(token),
      startFrame: start,
      endFrame: end,
      score: Math.exp(sum / (end - start)),
    };
    return word === undefined ? span : { ...span, word };
  });
}

/** The link `count` tokens before. */
function back(link: Link | undefined, count: number): Link | undefined {
  let at = link;
  for (let i = 0; i < count && at; i++) at = at.prev;
  return at;
}

/** The likeliest alignments of a candidate after frame t that end in a blank, and in its last token. */
function pathsOf<S>(
  { prefix, parent, token, expansion }: Candidate<S>,
  p: Float64Array,
  blank: number,
  t: number,
): [blank: Path, token: Path] {
  const reached = parent && begun(pathBefore(parent, token), p[token], t);
  if (expansion) return [impossible, reached!];
  const { blankPath, tokenPath } = prefix!;
  const rest = likelier(blankPath, tokenPath);
  const stays = token < 0 ? impossible : longer(tokenPath, p[token]);
  return [{ logProb: rest.logProb + p[blank], link: rest.link }, reached ? likelier(stays, reached) : stays];
}

/** The alignment whose last token lasts one frame more. */
const longer = ({ logProb, link }: Path, p: number): Path =>
  link === undefined
    ? impossible
    : {
        logProb: logProb + p,
        link: { start: link.start, end: link.end + 1, sum: link.sum + p, prev: link.prev },
      };

/** The alignment that goes on with a new token at frame t. */
const begun = ({ logProb, link }: Path, p: number, t: number): Path => ({
  logProb: logProb + p,
  link: { start: t, end: t + 1, sum: p, prev: link },
});

/** The alignment that `token` may follow: after its own like only through a blank. */
const pathBefore = <S>({ token: last, blankPath, tokenPath }: Prefix<S>, token: number): Path =>
  token === last ? blankPath : likelier(blankPath, tokenPath);

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
    children: undefined,
    expansions: [],
    blankEnd: -Infinity,
    tokenEnd: -Infinity,
    blankPath: impossible,
    tokenPath: impossible,
    frame: -1,
  };
  parent!.children ??= new Map();
  parent!.children.set(childKey(token, word, vocabulary), prefix);
  return prefix;
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
