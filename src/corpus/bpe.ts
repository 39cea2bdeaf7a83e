import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { quote, UserError } from "../errors.ts";
import { readLines } from "./formats/table.ts";
import { countBy } from "./group.ts";
import type { Utterance } from "./manifest.ts";
import { joinPieces, lettersOf, wordCutter, wordsOf } from "./pieces.ts";
import { blankSymbol } from "./vocab.ts";

/** Subword units by byte-pair encoding over letters (R. Sennrich, B. Haddow and A. Birch, 2016). */
export class BpeVocabulary {
  readonly symbols: readonly string[];
  readonly merges: readonly [string, string][];
  /** Index of the CTC blank, always 0. */
  readonly blank = 0;
  readonly #index: Map<string, number>;
  readonly #cut: (word: string) => string[];

  constructor(symbols: readonly string[], merges: readonly [string, string][]) {
    this.symbols = symbols;
    this.merges = merges;
    this.#index = new Map(symbols.map((symbol, i) => [symbol, i]));
    this.#cut = wordCutter(merges);
  }

  get size(): number {
    return this.symbols.length;
  }

  /**
   * The CTC target of an utterance's text.
   *
   * @throws UserError naming utterance and letter where one is outside the vocabulary.
   */
  encode(utterance: Utterance): number[] {
    if (utterance.text === undefined) throw new UserError(`utterance ${quote(utterance.id)} has no text`);
    return wordsOf(utterance.text).flatMap((word) =>
      this.#cut(word).map((piece) => {
        const index = this.#index.get(piece);
        if (index !== undefined) return index;
        throw new UserError(
          `utterance ${quote(utterance.id)} has the symbol ${quote(piece)}, which is not in the vocabulary`,
        );
      }),
    );
  }

  /** Text of indices; the blank counts as nothing. */
  decode(indices: ArrayLike<number>): string {
    const pieces = Array.from(indices).flatMap((index) =>
      index === this.blank ? [] : [this.symbols[index]],
    );
    return joinPieces(pieces);
  }
}

/**
 * Learns a vocabulary of at most `size` symbols, the blank and all letters included. Ties between equally frequent pairs
 * go to the first in code-point order, so the result depends only on the text.
 */
export function trainBpe(utterances: readonly Utterance[], size: number): BpeVocabulary {
  const counts = countBy(
    utterances.flatMap((u) => wordsOf(u.text ?? "")),
    (word) => word,
  );
  const words = [...counts].map(([word, count]) => ({ pieces: lettersOf(word), count }));
  const letters = new Set(words.flatMap(({ pieces }) => pieces));
  const symbols = [blankSymbol, ...[...letters].sort((a, b) => (a < b ? -1 : 1))];
  if (letters.size === 0) throw new UserError("no text in the corpus to learn subword units from");
  if (symbols.length > size) {
    throw new UserError(
      `a vocabulary of ${size} is too small: the letters and the blank alone are ${symbols.length}`,
    );
  }
  const merges: [string, string][] = [];
  while (symbols.length < size) {
    const best = mostFrequentPair(words);
    if (best === undefined) break;
    merges.push(best);
    symbols.push(best.join(""));
    for (const word of words) word.pieces = mergePair(word.pieces, ...best);
  }
  return new BpeVocabulary([...new Set(symbols)], merges);
}

function mostFrequentPair(
  words: readonly { pieces: string[]; count: number }[],
): [string, string] | undefined {
  const counts = new Map<string, number>();
  for (const { pieces, count } of words) {
    for (let i = 0; i + 1 < pieces.length; i++) {
      const pair = `${pieces[i]} ${pieces[i + 1]}`;
      counts.set(pair, (counts.get(pair) ?? 0) + count);
    }
  }
  let best: string | undefined;
  for (const [pair, count] of counts) {
    const top = best === undefined ? 0 : counts.get(best)!;
    if (count > top || (count === top && pair < best!)) best = pair;
  }
  const [a, b] = best?.split(" ") ?? [];
  return best === undefined ? undefined : [a, b];
}

function mergePair(pieces: readonly string[], a: string, b: string): string[] {
  const out: string[] = [];
  for (let i = 0; i < pieces.length; i++) {
    if (pieces[i] === a && pieces[i + 1] === b) {
      out.push(a + b);
      i++;
    } else out.push(pieces[i]);
  }
  return out;
}

/** Writes `vocab.json` and `merges.txt` into a folder, the two files of Hugging Face's BPE tokenisers. */
export function writeBpe(folder: string, vocabulary: BpeVocabulary): void {
  mkdirSync(folder, { recursive: true });
  const indices = Object.fromEntries(vocabulary.symbols.map((symbol, i) => [symbol, i]));
  writeFileSync(join(folder, "vocab.json"), `${JSON.stringify(indices, null, 2)}\n`);
  const lines = vocabulary.merges.map(([a, b]) => `${a} ${b}\n`);
  writeFileSync(join(folder, "merges.txt"), `#version: 0.2\n${lines.join("")}`);
}

/** Reads what `writeBpe` writes. */
export function readBpe(folder: string): BpeVocabulary {
  const indices = JSON.parse(readFileSync(join(folder, "vocab.json"), "utf8")) as Record<string, number>;
  const symbols: string[] = [];
  for (const [symbol, index] of Object.entries(indices)) symbols[index] = symbol;
  const merges = readLines(join(folder, "merges.txt"))
    .filter(({ text }) => !text.startsWith("#version"))
    .map(({ line, text }): [string, string] => {
      const [a, b] = text.split(" ");
      if (b === undefined) throw new UserError(`${join(folder, "merges.txt")}:${line}: expected two pieces`);
      return [a, b];
    });
  return new BpeVocabulary(symbols, merges);
}
