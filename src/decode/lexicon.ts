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
    bound: () => Math.max(0, labelScore),
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

interface Node {
  children: Map<number, Node>;
  /** Lexicon numbers of the words that end here. */
  words: number[];
  /** Weighted log probability of the likeliest word below, on its own: guides the beam inside words. */
  ahead: number;
}

export interface LexiconState {
  node: Node;
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
  const root: Node = { children: new Map(), words: [], ahead: 0 };
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
    const alone = weight * model.score([], indices[number]).logProb;
    let node = root;
    for (const token of spelling) {
      let next = node.children.get(token);
      if (!next) {
        next = { children: new Map(), words: [], ahead: -Infinity };
        node.children.set(token, next);
      }
      next.ahead = Math.max(next.ahead, alone);
      node = next;
    }
    if (!node.words.includes(number)) node.words.push(number);
  }

  const complete = (node: Node, from: LexiconState): (Expansion<LexiconState> & { word: number })[] =>
    node.words.map((word) => {
      const { logProb, history } = model.score(from.history, indices[word]);
      return { state: { node: root, history }, score: weight * logProb + wordScore - from.node.ahead, word };
    });

  return {
    words,
    start: { node: root, history: model.start },
    expand(state, token) {
      const next = state.node.children.get(token);
      const stays = state.node === root && token === separator ? [{ state, score: 0 }] : [];
      if (!next) return stays;
      const inside =
        next.children.size === 0
          ? []
          : [{ state: { node: next, history: state.history }, score: next.ahead - state.node.ahead }];
      return [...stays, ...complete(next, state), ...inside];
    },
    finish(state) {
      const ending = (history: History) => weight * model.end(history);
      if (state.node === root) return { score: ending(state.history) };
      const closed = separator === undefined ? undefined : state.node.children.get(separator);
      if (!closed || closed.words.length === 0) return undefined;
      return complete(closed, state)
        .map(({ state: { history }, score, word }) => ({ score: score + ending(history), word }))
        .reduce((a, b) => (b.score > a.score ? b : a));
    },
    bound: ({ node }) => Math.max(0, wordScore) - node.ahead,
  };
}

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
