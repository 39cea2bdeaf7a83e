import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { createGunzip } from "node:zlib";
import { readLines } from "../corpus/formats/table.ts";
import { type Vocabulary, wordDelimiter } from "../corpus/vocab.ts";
import type { Scorer } from "../decode/beam.ts";
import { type Entry, labelScorer, lexiconScorer, readLexicon } from "../decode/lexicon.ts";
import { arpaParser, type NgramModel } from "../decode/ngram.ts";
import { isCompiled, readNgrams } from "../decode/ngram-file.ts";
import { UserError } from "../errors.ts";
import { openFile, reason } from "../weights/file.ts";

/** Labels less likely than e^-15 at a frame are not tried there: they would not survive a beam of 50. */
export const TOKEN_THRESHOLD = 15;

/** An n-gram model made to score the symbols of a CTC head. */
export interface LanguageModel {
  readonly scorer: Scorer<unknown>;
  /** The words by number, where the model's units are words and not the head's own symbols. */
  readonly words?: readonly string[];
  readonly notes: readonly string[];
}

export interface LanguageModelOptions {
  /** How much the model's log probability counts (default 0.5 for symbols, 1 for words). */
  readonly weight?: number;
  /** Added for each word or symbol (default 0). */
  readonly wordScore?: number;
  /** Lines "word symbol symbol ...": needed for words over phones. */
  readonly lexicon?: string;
}

/** Opens a model: compiled (`voxsmith lm compile`), or an ARPA file, plain or gzipped. @throws UserError naming the file */
export async function openLanguageModel(path: string): Promise<NgramModel> {
  const source = openFile(path);
  try {
    if (isCompiled(source)) return readNgrams(source);
  } finally {
    source.close();
  }
  return readArpaFile(path);
}

/**
 * Reads an ARPA file line by line; `told` hears now and then how many of its bytes are read.
 * @throws UserError naming file and line
 */
export async function readArpaFile(
  path: string,
  told: (bytes: number) => void = () => {},
): Promise<NgramModel> {
  const parser = arpaParser(path);
  const file = createReadStream(path, { highWaterMark: 1 << 20 });
  const text = path.endsWith(".gz") ? file.pipe(createGunzip()) : file;
  const failed = new Promise<never>((_, reject) => {
    for (const stream of [file, text])
      stream.once("error", (error: Error) => reject(new UserError(`${path}: ${reason(error)}`)));
  });
  const read = (async () => {
    let lines = 0;
    for await (const line of createInterface({ input: text, crlfDelay: Infinity })) {
      parser.line(line);
      if (++lines % 100_000 === 0) told(file.bytesRead);
    }
    return parser.finish();
  })();
  return Promise.race([read, failed]);
}

/**
 * Fits a model to a head: one over the head's own symbols scores symbols; one over words scores words, spelled by a lexicon or,
 * where the head writes letters, by their own letters.
 * @throws UserError where the model's units are neither
 */
export function fitLanguageModel(
  model: NgramModel,
  path: string,
  vocabulary: Vocabulary,
  options: LanguageModelOptions,
): LanguageModel {
  const own = vocabulary.symbols.filter(
    (symbol, i) =>
      i !== vocabulary.blank && vocabulary.decodeSymbols([i]).length > 0 && symbol !== wordDelimiter,
  );
  const known = new Set(model.words);
  if (options.lexicon === undefined && own.every((symbol) => known.has(symbol))) {
    const { weight = 0.5, wordScore: labelScore = 0 } = options;
    const scorer = labelScorer(model, vocabulary.symbols, { weight, labelScore }) as Scorer<unknown>;
    return { scorer, notes: [] };
  }
  const { weight = 1, wordScore = 0 } = options;
  const { entries, left } =
    options.lexicon !== undefined
      ? { entries: pronounced(options.lexicon, vocabulary, known), left: 0 }
      : spelled(model, path, vocabulary);
  const delimiter = vocabulary.symbols.indexOf(wordDelimiter);
  const separator = vocabulary.options.unit === "characters" && delimiter >= 0 ? delimiter : undefined;
  const scorer = lexiconScorer(entries, model, { weight, wordScore, separator });
  const notes = left > 0 ? [`${path}: ${left} words have letters that the model does not write`] : [];
  return { scorer: scorer as Scorer<unknown>, words: scorer.words, notes };
}

const MARKS = new Set(["<s>", "</s>", "<unk>", "<UNK>"]);

/** Every word of the model that the head's letters can spell. */
function spelled(
  model: NgramModel,
  path: string,
  vocabulary: Vocabulary,
): { entries: Entry[]; left: number } {
  const { unit, letterCase } = vocabulary.options;
  if (unit !== "characters")
    throw new UserError(
      `${path}: is over words, and the model writes ${unit}; give their pronunciations with --lexicon, or a model over ${unit}`,
    );
  const indices = new Map(vocabulary.symbols.map((symbol, i) => [symbol, i]));
  const delimiter = indices.get(wordDelimiter);
  const entries: Entry[] = [];
  let left = 0;
  for (const word of model.words) {
    if (MARKS.has(word)) continue;
    const cased =
      letterCase === "lower" ? word.toLowerCase() : letterCase === "upper" ? word.toUpperCase() : word;
    const spelling = [...cased.normalize("NFC")].map((letter) => indices.get(letter));
    if (spelling.includes(undefined)) left++;
    else {
      const letters = spelling as number[];
      entries.push({ word, spelling: delimiter === undefined ? letters : [...letters, delimiter] });
    }
  }
  if (entries.length === 0)
    throw new UserError(`${path}: none of its words is made of the letters that the model writes`);
  return { entries, left };
}

/** The lexicon's words that the model knows; of one without `<unk>`, others could never win. */
function pronounced(path: string, vocabulary: Vocabulary, known: ReadonlySet<string>): Entry[] {
  const lines = readLines(path).map(({ text }) => text);
  const entries = readLexicon(lines, vocabulary.symbols, path).filter(
    ({ word }) => known.has(word) || known.has("<unk>"),
  );
  if (entries.length === 0) throw new UserError(`${path}: has no word that the language model knows`);
  return entries;
}
