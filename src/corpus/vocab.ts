import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { closest, quote, UserError } from "../errors.ts";
import { phoneSymbols, type Utterance } from "./manifest.ts";
import { cutInto, inventoryOf, joinPieces, type Pieces } from "./pieces.ts";

/** What a CTC target is made of: letters of the text or pieces of its words, the phones field, or the text's whitespace-separated tokens. */
export type Unit = "characters" | "pieces" | "phones" | "tokens";

export interface VocabularyOptions {
  unit: Unit;
  /** Index of the CTC blank, a symbol of its own (default 0, where Hugging Face's CTC models have it). */
  blank?: number;
  /** Letter case that text is brought to first (default "keep"). */
  letterCase?: "keep" | "lower" | "upper";
  /** Drop stress from phones: ARPAbet's digits, IPA's marks (default false). */
  dropStress?: boolean;
  /** How text is cut, for pieces. */
  pieces?: Pieces;
  /** Add `<unk>` and encode symbols outside the vocabulary as it, instead of refusing them (default false). */
  unknown?: boolean;
}

/** The same with every default filled in. */
export type VocabularySettings = Required<Omit<VocabularyOptions, "pieces">> &
  Pick<VocabularyOptions, "pieces">;

export const blankSymbol = "<pad>";
export const unknownSymbol = "<unk>";
/** Stands for the space between words, as in Hugging Face's CTC vocabularies. */
export const wordDelimiter = "|";

const special = new Set([blankSymbol, unknownSymbol, "<s>", "</s>", "[PAD]", "[UNK]"]);

/** The symbols a CTC head can write. Made by `buildVocabulary` or `readVocabulary`. */
export class Vocabulary {
  readonly symbols: readonly string[];
  readonly options: VocabularySettings;
  readonly #index: Map<string, number>;

  constructor(symbols: readonly string[], options: VocabularySettings) {
    this.symbols = symbols;
    this.options = options;
    this.#index = new Map(symbols.map((symbol, i) => [symbol, i]));
  }

  get size(): number {
    return this.symbols.length;
  }

  get blank(): number {
    return this.options.blank;
  }

  /**
   * The CTC target of an utterance.
   *
   * @throws UserError naming utterance and symbol where one is outside the vocabulary.
   */
  encode(utterance: Utterance): number[] {
    return this.encodeSymbols(symbolsOf(utterance, this.options), `utterance ${quote(utterance.id)}`);
  }

  /** Indices of symbols; `where` begins the sentence of an error. */
  encodeSymbols(symbols: readonly string[], where = "the target"): number[] {
    return symbols.map((symbol) => {
      const index = special.has(symbol) ? undefined : this.#index.get(symbol);
      if (index !== undefined) return index;
      const unknown = this.#index.get(unknownSymbol) ?? this.#index.get("[UNK]");
      if (this.options.unknown && unknown !== undefined) return unknown;
      throw new UserError(
        `${where} has the symbol ${quote(symbol)}, which is not in the vocabulary of ${this.size} symbols`,
      );
    });
  }

  /** Symbols of indices, without the blank and other special symbols. */
  decodeSymbols(indices: ArrayLike<number>): string[] {
    return Array.from(indices, (index) => this.symbols[index]).filter((symbol) => !special.has(symbol));
  }

  /** Text of indices: letters joined, with spaces between words; phones and tokens with spaces between. */
  decode(indices: ArrayLike<number>): string {
    const symbols = this.decodeSymbols(indices);
    if (this.options.unit === "pieces") return joinPieces(symbols);
    if (this.options.unit !== "characters") return symbols.join(" ");
    return symbols.join("").split(wordDelimiter).filter(Boolean).join(" ");
  }
}

/**
 * The target of an utterance as symbols: letters with "|" between words, pieces, phones, or tokens.
 *
 * @throws UserError where the utterance has no such field.
 */
export function symbolsOf(utterance: Utterance, options: VocabularyOptions): string[] {
  const { unit, letterCase = "keep", dropStress = false } = options;
  if (unit === "phones") {
    const phones = phoneSymbols(utterance);
    if (phones === undefined) throw new UserError(`utterance ${quote(utterance.id)} has no phones`);
    return dropStress ? phones.map(withoutStress) : phones;
  }
  if (utterance.text === undefined) throw new UserError(`utterance ${quote(utterance.id)} has no text`);
  const text = utterance.text.normalize("NFC");
  const cased =
    letterCase === "lower" ? text.toLowerCase() : letterCase === "upper" ? text.toUpperCase() : text;
  if (unit === "pieces") return cutInto(options.pieces!, cased);
  const words = cased.split(/\s+/u).filter(Boolean);
  return unit === "tokens" ? words : [...words.join(wordDelimiter)];
}

/** A phone without stress: `AH0` -> `AH`, `ˈaʊ` -> `aʊ`. Tone digits stay (they follow lower-case letters). */
export function withoutStress(phone: string): string {
  return phone.replace(/[ˈˌ]/gu, "").replace(/^([A-Z]+)[0-2]$/, "$1");
}

/** The vocabulary of a corpus: the blank, "|" for letters, `<unk>` on request, then all symbols in code-point order. */
export function buildVocabulary(utterances: readonly Utterance[], options: VocabularyOptions): Vocabulary {
  const found = new Set(
    options.unit === "pieces"
      ? inventoryOf(options.pieces!)
      : utterances.flatMap((utterance) => symbolsOf(utterance, options)),
  );
  const reserved = [...found].find((symbol) => special.has(symbol));
  if (reserved !== undefined)
    throw new UserError(`the symbol ${quote(reserved)} is reserved; rename it in the corpus`);
  if (found.size === 0) throw new UserError(`no ${options.unit} in the corpus to make a vocabulary of`);
  found.delete(wordDelimiter);
  // Pieces stay in the order in which they were learned.
  const symbols = [...found];
  if (options.unit !== "pieces") symbols.sort((a, b) => (a < b ? -1 : 1));
  if (options.unit === "characters") symbols.unshift(wordDelimiter);
  if (options.unknown) symbols.unshift(unknownSymbol);
  const blank = options.blank ?? 0;
  if (!Number.isInteger(blank) || blank < 0 || blank > symbols.length) {
    throw new UserError(`the blank's index ${blank} must be between 0 and ${symbols.length}`);
  }
  symbols.splice(blank, 0, blankSymbol);
  return new Vocabulary(symbols, withDefaults(options, blank));
}

const withDefaults = (options: VocabularyOptions, blank: number): VocabularySettings => ({
  letterCase: "keep",
  dropStress: false,
  unknown: false,
  ...options,
  blank,
});

/**
 * Reads Hugging Face's `vocab.json`. The blank is `options.blank`, else the index of `<pad>` or `[PAD]`.
 *
 * @throws UserError where the file is not an object of symbols and indices 0 to n - 1, or has no blank.
 */
export function readVocabulary(path: string, options: VocabularyOptions): Vocabulary {
  if (!existsSync(path)) throw new UserError(`${path}: no such vocabulary`);
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch {
    throw new UserError(`${path}: not a JSON file; expected {"<pad>": 0, "|": 1, ...}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UserError(`${path}: expected an object of symbols and indices, such as {"<pad>": 0, "|": 1}`);
  }
  const symbols: string[] = [];
  for (const [symbol, index] of Object.entries(value)) {
    if (!Number.isInteger(index) || index < 0 || symbols[index] !== undefined) {
      throw new UserError(
        `${path}: the index of ${quote(symbol)} must be a whole number of its own, not ${quote(index)}`,
      );
    }
    symbols[index] = symbol;
  }
  const gap = Array.from(symbols).indexOf(undefined as unknown as string);
  if (gap >= 0) throw new UserError(`${path}: no symbol has the index ${gap}`);
  const blank = options.blank ?? symbols.findIndex((symbol) => symbol === blankSymbol || symbol === "[PAD]");
  if (symbols[blank] === undefined) {
    throw new UserError(
      `${path}: no "${blankSymbol}" symbol to serve as the CTC blank; give the blank's index`,
    );
  }
  return new Vocabulary(symbols, withDefaults(options, blank));
}

/** Writes Hugging Face's `vocab.json`. */
export function writeVocabulary(path: string, vocabulary: Vocabulary): void {
  const indices = Object.fromEntries(vocabulary.symbols.map((symbol, i) => [symbol, i]));
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.tmp`, `${JSON.stringify(indices, null, 2)}\n`);
  renameSync(`${path}.tmp`, path);
}

/** A label's value; a speaker is known without a label, too. */
const labelValue = ({ labels, speaker }: Utterance, label: string): string | number | undefined =>
  labels?.[label] ?? (label === "speaker" ? speaker : undefined);

/** The classes of a label, for classification. */
export class LabelVocabulary {
  readonly label: string;
  readonly classes: readonly string[];

  constructor(label: string, classes: readonly string[]) {
    this.label = label;
    this.classes = classes;
  }

  /**
   * The class index of an utterance.
   *
   * @throws UserError naming the utterance where it lacks the label or its value is none of the classes.
   */
  encode(utterance: Utterance): number {
    const value = labelValue(utterance, this.label);
    if (value === undefined) {
      const meant = closest(this.label, Object.keys(utterance.labels ?? {}));
      const hint = meant === undefined ? "" : `; did you mean "${meant}"?`;
      throw new UserError(`utterance ${quote(utterance.id)} has no label "${this.label}"${hint}`);
    }
    const index = this.classes.indexOf(String(value));
    if (index >= 0) return index;
    throw new UserError(
      `utterance ${quote(utterance.id)} has ${this.label} ${quote(value)}, which is none of the classes ` +
        this.classes.slice(0, 20).join(", "),
    );
  }
}

/** The classes of a label in a corpus, in natural order (2 before 10); or exactly `classes`, each checked to occur. */
export function buildLabels(
  utterances: readonly Utterance[],
  label: string,
  classes?: readonly string[],
): LabelVocabulary {
  const vocabulary = new LabelVocabulary(label, classes ?? []);
  if (classes !== undefined) {
    for (const utterance of utterances) vocabulary.encode(utterance);
    return vocabulary;
  }
  const found = new Set<string>();
  for (const utterance of utterances) {
    const value = labelValue(utterance, label);
    if (value === undefined)
      vocabulary.encode(utterance); // throws the sentence
    else found.add(String(value));
  }
  const natural = new Intl.Collator("en", { numeric: true });
  return new LabelVocabulary(
    label,
    [...found].sort((a, b) => natural.compare(a, b) || (a < b ? -1 : 1)),
  );
}
