import { percentile } from "../audio/acoustics/functionals.ts";
import { type Lexicon, pronounce } from "../corpus/lexicon.ts";
import type { Phone, Utterance } from "../corpus/manifest.ts";
import { joinPieces, wordStart } from "../corpus/pieces.ts";
import { phonemize } from "../corpus/synthesis.ts";
import { symbolsOf, type Vocabulary, wordDelimiter } from "../corpus/vocab.ts";
import { type CtcSpan, fillGaps, forcedAlign, greedyDecode } from "../decode/ctc.ts";
import { quote, UserError } from "../errors.ts";
import { Inference } from "./inference.ts";

export interface AlignerOptions {
  /** Threads of the runtime; default all cores. */
  threads?: number;
  /** The CTC head; default the only one, or the one whose name begins with "phon". */
  head?: string;
  /** Gives the phones of a text to a head of phones. */
  lexicon?: Lexicon;
  /** A voice of espeak-ng that gives the phones of a text (IPA), in the lexicon's place or for words it lacks. */
  voice?: string;
  /** Longest stretch in seconds on either side of a symbol's peak that can count as the symbol (default 0.15). */
  reach?: number;
}

/** A symbol with its place in the recording, seconds, and the geometric mean of its posterior over its peak, in (0, 1]. */
export interface AlignedSymbol extends Phone {
  score: number;
}

export interface Alignment {
  /** Seconds of what was aligned. */
  seconds: number;
  /** What a head of phones or tokens was made to spell; empty for a head of letters. */
  phones: AlignedSymbol[];
  /** Empty where the phones came without words. */
  words: { word: string; start: number; end: number; score: number }[];
}

/** What is to be aligned, symbol by symbol, and which symbols make a word. */
interface Spelling {
  symbols: string[];
  /** In order; they cover the symbols but for word delimiters. */
  words: { word: string; count: number }[];
}

const defaultReach = 0.15;
/** Below the loud part of a recording by so many dB there is silence; fricatives and closures are above that. */
const silenceDb = 35;

/** Finds when what is known to be said was said (CTC forced alignment), and what is heard freely, with a trained model. */
export class Aligner {
  readonly inference: Inference;
  readonly vocabulary: Vocabulary;
  private readonly head: string;
  private readonly options: AlignerOptions;

  private constructor(inference: Inference, head: string, vocabulary: Vocabulary, options: AlignerOptions) {
    this.inference = inference;
    this.head = head;
    this.vocabulary = vocabulary;
    this.options = options;
  }

  /** @throws UserError where the model has no CTC head, several to choose from, or none of the name */
  static async open(path: string, options: AlignerOptions = {}): Promise<Aligner> {
    const inference = await Inference.open(path, { threads: options.threads });
    const heads = inference.objectives.flatMap(({ name, target }) =>
      target.kind === "sequence" ? [{ name, vocabulary: target.vocabulary }] : [],
    );
    const phonetic = heads.filter(({ name }) => /^phon/.test(name));
    const candidates =
      options.head !== undefined
        ? heads.filter(({ name }) => name === options.head)
        : phonetic.length === 1
          ? phonetic
          : heads;
    if (candidates.length === 1) {
      const [{ name, vocabulary }] = candidates;
      return new Aligner(inference, name, vocabulary, options);
    }
    await inference.dispose();
    const names = heads.map(({ name }) => name).join(", ");
    if (heads.length === 0)
      throw new UserError(`${path}: has no CTC head to align with; train one on phones or characters`);
    throw new UserError(
      options.head === undefined
        ? `${path}: has several CTC heads (${names}); choose one of them`
        : `${path}: has no CTC head ${quote(options.head)}; it has ${names}`,
    );
  }

  /**
   * Aligns an utterance's phones, or the phones or letters of its text.
   * @throws UserError naming the utterance where it says nothing to align, has a symbol the model does not know, or is
   *   too short for its symbols
   */
  async align(utterance: Utterance): Promise<Alignment> {
    const spelling = await this.spelling(utterance);
    const targets = this.vocabulary.encodeSymbols(spelling.symbols, `utterance ${quote(utterance.id)}`);
    const { logits, frames, samples } = await this.hear(utterance);
    let spans: CtcSpan[];
    try {
      spans = forcedAlign(logits, frames, this.vocabulary.size, targets, this.vocabulary);
    } catch (error) {
      if (error instanceof UserError)
        throw new UserError(`utterance ${quote(utterance.id)}: ${error.message}`);
      throw error;
    }
    const symbols = this.timed(spans, frames, samples);
    const { unit } = this.vocabulary.options;
    const isLetters = unit === "characters" || unit === "pieces";
    const seconds = samples.length / this.inference.sampleRate;
    return { seconds, phones: isLetters ? [] : symbols, words: wordsOf(spelling, symbols) };
  }

  /** What the model hears, not knowing what was said. */
  async recognise(utterance: Utterance): Promise<string[]> {
    const { logits, frames } = await this.hear(utterance);
    const spans = greedyDecode(logits, frames, this.vocabulary.size, this.vocabulary);
    return this.vocabulary.decodeSymbols(spans.map(({ token }) => token));
  }

  dispose(): Promise<void> {
    return this.inference.dispose();
  }

  private async hear(utterance: Utterance) {
    const samples = await this.inference.read(utterance.audio, utterance);
    const { frames, scores } = await this.inference.hear(samples);
    return { logits: scores[this.head].data as Float32Array, frames, samples };
  }

  /** Frames as seconds: they divide the recording evenly, to within half a window of the extractor. */
  private timed(spans: readonly CtcSpan[], frames: number, samples: Float32Array): AlignedSymbol[] {
    const { sampleRate } = this.inference;
    const perFrame = samples.length / sampleRate / frames;
    const reach = (this.options.reach ?? defaultReach) / perFrame;
    const levels = levelsOf(samples, frames);
    const silence = percentile(levels.slice().sort(), 0.99) - silenceDb;
    const silent = (frame: number) => levels[frame] < silence;
    return fillGaps(spans, frames, reach, silent).map(({ token, startFrame, endFrame, score }) => ({
      phone: this.vocabulary.symbols[token],
      start: startFrame * perFrame,
      end: endFrame * perFrame,
      score,
    }));
  }

  private async spelling(utterance: Utterance): Promise<Spelling> {
    const { options } = this.vocabulary;
    const { id, text, phones, words } = utterance;
    if (options.unit !== "phones") {
      const symbols = symbolsOf(utterance, options);
      if (options.unit === "tokens") return { symbols, words: [] };
      if (options.unit === "pieces") return { symbols, words: piecedWords(symbols) };
      const said = text!.normalize("NFC").split(/\s+/u).filter(Boolean);
      // Counted after the change of letter case, which can change the number of letters.
      const counts = symbols.join(" ").split(` ${wordDelimiter} `);
      return { symbols, words: said.map((word, i) => ({ word, count: counts[i].split(" ").length })) };
    }
    if (phones !== undefined) {
      const symbols = symbolsOf(utterance, options);
      const parts = (words ?? []).flatMap((word) =>
        Array.isArray(word) ? [{ word: word[0], count: word[1].length }] : [],
      );
      const fits = parts.reduce((sum, { count }) => sum + count, 0) === symbols.length;
      return { symbols, words: fits ? parts : [] };
    }
    if (text === undefined)
      throw new UserError(`utterance ${quote(id)} has neither phones nor text: there is nothing to align`);
    const spoken = await this.pronounced(utterance, text);
    const asUtterance = { ...utterance, phones: spoken.flatMap(([, sounds]) => sounds) };
    return {
      symbols: symbolsOf(asUtterance, options),
      words: spoken.map(([word, { length: count }]) => ({ word, count })),
    };
  }

  private async pronounced({ id }: Utterance, text: string): Promise<[string, string[]][]> {
    const { lexicon, voice } = this.options;
    if (lexicon === undefined && voice === undefined)
      throw new UserError(
        `utterance ${quote(id)} has text but no phones, and the model hears phones: a lexicon or an espeak-ng voice is needed to tell them`,
      );
    const spoken =
      voice === undefined
        ? undefined
        : (await phonemize(text, voice)).map(({ word, phones }): [string, string[]] => [word, phones]);
    if (lexicon === undefined) return spoken!;
    const known = new Map(spoken?.map(([word, phones]) => [word.toLowerCase(), phones]));
    try {
      return pronounce(text, lexicon, voice === undefined ? undefined : (word) => known.get(word) ?? []);
    } catch (error) {
      if (error instanceof UserError) throw new UserError(`utterance ${quote(id)}: ${error.message}`);
      throw error;
    }
  }
}

/** Words of pieces, each with the number of its pieces. */
function piecedWords(pieces: readonly string[]): { word: string; count: number }[] {
  const words: string[][] = [];
  for (const piece of pieces)
    if (words.length === 0 || piece.startsWith(wordStart)) words.push([piece]);
    else words[words.length - 1].push(piece);
  return words.map((own) => ({ word: joinPieces(own), count: own.length }));
}

/** Level of each frame's own samples, dB re full scale [frames]. */
function levelsOf(samples: Float32Array, frames: number): Float64Array {
  return Float64Array.from({ length: frames }, (_, frame) => {
    const own = samples.subarray(
      Math.floor((frame * samples.length) / frames),
      Math.ceil(((frame + 1) * samples.length) / frames),
    );
    return 10 * Math.log10(own.reduce((sum, x) => sum + x * x, 0) / own.length + 1e-12);
  });
}

/** Words from the first of their symbols to the last. */
function wordsOf({ words }: Spelling, symbols: readonly AlignedSymbol[]): Alignment["words"] {
  const spoken = symbols.filter(({ phone }) => phone !== wordDelimiter);
  let at = 0;
  return words.flatMap(({ word, count }) => {
    const own = spoken.slice(at, at + count);
    at += count;
    if (own.length === 0) return [];
    const score = Math.exp(own.reduce((sum, symbol) => sum + Math.log(symbol.score), 0) / own.length);
    return [{ word, start: own[0].start, end: own[own.length - 1].end, score }];
  });
}
