/** Scorers for CTC beam search: an n-gram model over the labels themselves, or a lexicon with a model over its words. */
import { quote, UserError } from "../errors.ts";
import type { Expansion, Scorer } from "./beam.ts";
import type { History, NgramModel } from "./ngram.ts";

/**
 * Lexicon-free: every label is a word of the model. Adds weight * ln p(label | history) + labelScore per label, and weight *
 * ln p(end) at the end. `symbols` names the vocabulary's entries as the model spells them.
 */
export function labelScorer(
  model: NgramModel,
  symbols: readonly string[],
  { weight = 2, labelScore = 0 } = {},
): Scorer<History> {
  const indices = symbols.map((symbol) => model.index(symbol));
  return {
    start: model.start,
    expand(history, token) {
      const { logProb, history: state } = model.score(history, indices[token]);
      return [{ state, score: weight * logProb + labelScore }];
    },
    finish: (history) => ({ score: weight * model.end(history) }),
    bound: () => labelScore,
  };
}

/** A word with one way to spell it in labels. */
export interface Entry {
  word: string;
  /** Indices into the vocabulary, without the blank; ends with the separator if the model writes one after words. */
  spelling: readonly number[];
}

export interface LexiconOptions {
  /** Weight of the language model, default 2. */
  weight?: number;
  /** Added for each word, default -1. */
  wordScore?: number;
  /** Label that may also stand, or be repeated, between words ("|"); a last word may then end without it. */
  separator?: number;
}

export interface LexiconState {
  /** Place in the trie; 0 is its root. */
  node: number;
  history: History;
}

export interface LexiconScorer extends Scorer<LexiconState> {
  /** Text of the word numbers in a hypothesis. */
  words: readonly string[];
}

/**
 * Lexicon over a trie: only sequences of whole words pass. A hypothesis gains weight * ln p(word | history) + wordScore per
 * word and weight * ln p(end). Inside a word it carries the score of the likeliest word still possible, which the word's own
 * score replaces at its end, so that totals are exact.
 */
export function lexiconScorer(
  entries: Iterable<Entry>,
  model: NgramModel,
  { weight = 2, wordScore = -1, separator }: LexiconOptions = {},
): LexiconScorer {
  const words: string[] = [];
  const indices: number[] = [];
  const numbers = new Map<string, number>();
  const trie = new Trie();
  for (const { word, spelling } of entries) {
    if (spelling.length === 0) throw new UserError(`lexicon: the word ${quote(word)} has no spelling`);
    if (spelling[0] === separator)
      throw new UserError(
        `lexicon: the word ${quote(word)} begins with the separator; it belongs to the end`,
      );
    let number = numbers.get(word);
    if (number === undefined) {
      number = words.push(word) - 1;
      numbers.set(word, number);
      indices.push(model.index(word));
    }
    trie.add(spelling, number, weight * model.score(model.none, indices[number]).logProb);
  }
  const { root, ahead } = trie;
  const between = [...(separator === undefined ? [] : [separator]), ...trie.tokensOf(root)];

  const complete = (node: number, from: LexiconState) =>
    trie.words(node).map((word): Expansion<LexiconState> & { word: number } => {
      const { logProb, history } = model.score(from.history, indices[word]);
      return { state: { node: root, history }, score: weight * logProb + wordScore - ahead[from.node], word };
    });

  return {
    words,
    start: { node: root, history: model.start },
    expand(state, token) {
      const { node, history } = state;
      const next = trie.child(node, token);
      const ways: Expansion<LexiconState>[] =
        node === root && token === separator ? [{ state, score: 0 }] : [];
      if (next < 0) return ways;
      if (trie.words(next).length > 0) ways.push(...complete(next, state));
      if (!trie.isLeaf(next)) ways.push({ state: { node: next, history }, score: ahead[next] - ahead[node] });
      return ways;
    },
    follow: ({ node }) => (node === root ? between : trie.tokensOf(node)),
    finish(state) {
      const ending = (history: History) => weight * model.end(history);
      if (state.node === root) return { score: ending(state.history) };
      const closed = separator === undefined ? -1 : trie.child(state.node, separator);
      if (closed < 0) return undefined;
      const ends = complete(closed, state);
      if (ends.length === 0) return undefined;
      return ends
        .map(({ state: { history }, score, word }) => ({ score: score + ending(history), word }))
        .reduce((a, b) => (b.score > a.score ? b : a));
    },
    // A word's own log probability is at most 0, and on the way to it no word is likelier than the best one.
    bound({ node }, token) {
      const word = wordScore - ahead[node];
      if (token === undefined || node === root) return Math.max(0, word);
      const next = trie.child(node, token);
      const inside = ahead[next] - ahead[node];
      return trie.words(next).length > 0 ? Math.max(inside, word) : inside;
    },
  };
}

/** Spellings as nodes of a tree in flat arrays: each knows its first child and its next sibling. */
class Trie {
  readonly root = 0;
  /** Weighted log probability of the likeliest word below, on its own: guides the beam inside words. */
  readonly ahead: number[] = [0];
  private readonly tokens: number[] = [-1];
  private readonly children: number[] = [-1];
  private readonly siblings: number[] = [-1];
  private readonly ends = new Map<number, number[]>();
  private readonly lists = new Map<number, readonly number[]>();

  /** The child along `token`, or -1. */
  child(node: number, token: number): number {
    let at = this.children[node];
    while (at >= 0 && this.tokens[at] !== token) at = this.siblings[at];
    return at;
  }

  /** The tokens of a node's children; kept, since decoding comes by the same nodes again and again. */
  tokensOf(node: number): readonly number[] {
    let list = this.lists.get(node);
    if (list === undefined) {
      const found: number[] = [];
      for (let at = this.children[node]; at >= 0; at = this.siblings[at]) found.push(this.tokens[at]);
      list = found;
      this.lists.set(node, list);
    }
    return list;
  }

  isLeaf(node: number): boolean {
    return this.children[node] < 0;
  }

  /** Numbers of the words that end at a node. */
  words(node: number): readonly number[] {
    return this.ends.get(node) ?? NOTHING;
  }

  add(spelling: readonly number[], word: number, ahead: number): void {
    let node = this.root;
    for (const token of spelling) {
      let next = this.child(node, token);
      if (next < 0) {
        next = this.tokens.push(token) - 1;
        this.siblings.push(this.children[node]);
        this.children[node] = next;
        this.children.push(-1);
        this.ahead.push(-Infinity);
      }
      this.ahead[next] = Math.max(this.ahead[next], ahead);
      node = next;
    }
    const ends = this.ends.get(node);
    if (ends === undefined) this.ends.set(node, [word]);
    else if (!ends.includes(word)) ends.push(word);
  }
}

const NOTHING: readonly number[] = [];

/** Entries from lines "word token token ...", as Kaldi and flashlight write lexicons. Errors name the line. */
export function readLexicon(lines: Iterable<string>, symbols: readonly string[], name = "lexicon"): Entry[] {
  const indices = new Map(symbols.map((symbol, i) => [symbol, i]));
  const entries: Entry[] = [];
  let number = 0;
  for (const line of lines) {
    number++;
    const [word, ...spelling] = line.trim().split(/\s+/);
    if (word === "") continue;
    const tokens = spelling.map((symbol) => {
      const token = indices.get(symbol);
      if (token === undefined)
        throw new UserError(`${name}, line ${number}: ${quote(symbol)} is not a label of the model`);
      return token;
    });
    if (tokens.length === 0) throw new UserError(`${name}, line ${number}: ${quote(word)} has no spelling`);
    entries.push({ word, spelling: tokens });
  }
  return entries;
}
