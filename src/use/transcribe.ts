import { openRecording } from "../audio/file.ts";
import { joinPieces, wordStart } from "../corpus/pieces.ts";
import { type Vocabulary, wordDelimiter } from "../corpus/vocab.ts";
import { BeamSearch, type HeardSpan } from "../decode/beam.ts";
import { BeamStream, type CtcStream, GreedyStream } from "../decode/stream.ts";
import { quote, UserError } from "../errors.ts";
import type { LanguageModel } from "../train/language-model.ts";
import { locateModel } from "../train/locate.ts";
import { openModel } from "../train/open-model.ts";
import { Inference } from "./inference.ts";
import { type ChunkOptions, hearPieces } from "./long.ts";

/** Something heard, with its place in the recording, seconds, and the geometric mean of its posterior there, in (0, 1]. */
export interface Timed {
  readonly text: string;
  readonly start: number;
  readonly end: number;
  readonly score: number;
}

export interface Transcript {
  /** Seconds of the recording. */
  readonly seconds: number;
  readonly text: string;
  /** Empty where a head of phones decodes without a lexicon. */
  readonly words: readonly Timed[];
  /** Letters, phones or tokens, as the head writes them; no word delimiters. */
  readonly symbols: readonly Timed[];
}

export interface TranscriberOptions {
  readonly threads?: number;
  readonly log?: (line: string) => void;
  /** The CTC head, by objective, where the model has several. */
  readonly head?: string;
  /** Prefixes that survive a frame; without it and a language model, the best path is taken. */
  readonly beam?: number;
  /** Makes the scorer of the vocabulary that it is given. */
  readonly languageModel?: (vocabulary: Vocabulary) => LanguageModel;
}

const WIDTH = 50;
/** Symbols less likely than e^-12 at a frame are not tried there. */
const TOKEN_THRESHOLD = 12;

/** Writes down what is said in recordings of any length, with a model that has a CTC head. Dispose it when done. */
export class Transcriber {
  readonly vocabulary: Vocabulary;
  private readonly inference: Inference;
  private readonly head: string;
  private readonly beam: number | undefined;
  private readonly languageModel: LanguageModel | undefined;

  private constructor(
    inference: Inference,
    head: { name: string; vocabulary: Vocabulary },
    beam: number | undefined,
    languageModel: LanguageModel | undefined,
  ) {
    this.inference = inference;
    this.head = head.name;
    this.vocabulary = head.vocabulary;
    this.beam = beam;
    this.languageModel = languageModel;
  }

  /** @throws UserError where the model has no CTC head whose symbols are known, or several to choose from */
  static async open(name: string, options: TranscriberOptions = {}): Promise<Transcriber> {
    const { path } = await locateModel(name, options.log ?? (() => {}));
    const model = openModel(path);
    const heads = model.task.objectives.flatMap(({ name, spec, target }) =>
      target.kind === "sequence" && spec.loss === "ctc" ? [{ name, vocabulary: target.vocabulary }] : [],
    );
    const names = heads.map(({ name }) => name).join(", ");
    if (heads.length === 0)
      throw new UserError(
        `${path}: has no CTC head with known symbols; of a model from elsewhere, vocab.json must lie beside its weights`,
      );
    if (options.head === undefined && heads.length > 1)
      throw new UserError(`${path}: has several CTC heads (${names}); choose one with --head`);
    const chosen = options.head === undefined ? heads[0] : heads.find(({ name }) => name === options.head);
    if (chosen === undefined)
      throw new UserError(`${path}: has no CTC head ${quote(options.head)}; it has ${names}`);
    const languageModel = options.languageModel?.(chosen.vocabulary);
    const inference = await Inference.of(model, { threads: options.threads, heads: [chosen.name] });
    return new Transcriber(inference, chosen, options.beam, languageModel);
  }

  /** What the model's files leave open and was assumed. */
  get notes(): readonly string[] {
    return [...this.inference.model.notes, ...(this.languageModel?.notes ?? [])];
  }

  /** @throws UserError that names the file */
  async transcribe(path: string, options: Omit<ChunkOptions, "head"> = {}): Promise<Transcript> {
    const recording = await openRecording(path, this.inference.sampleRate);
    try {
      const stream = this.stream();
      const head = { name: this.head, blank: this.vocabulary.blank };
      const spans: HeardSpan[] = [];
      for await (const { scores, frames } of hearPieces(this.inference, recording, path, {
        ...options,
        head,
      })) {
        stream.push(scores[this.head], frames);
        spans.push(...stream.take());
      }
      spans.push(...stream.finish());
      return this.written(spans, recording.samples / this.inference.sampleRate);
    } finally {
      recording.close();
    }
  }

  private stream(): CtcStream {
    const { size, blank } = this.vocabulary;
    const scorer = this.languageModel?.scorer;
    if (scorer === undefined && this.beam === undefined) return new GreedyStream(size, { blank });
    const width = this.beam ?? WIDTH;
    return new BeamStream(new BeamSearch(size, { blank, width, scorer, tokenThreshold: TOKEN_THRESHOLD }));
  }

  private written(spans: readonly HeardSpan[], seconds: number): Transcript {
    const { hop, sampleRate } = this.inference;
    const { unit } = this.vocabulary.options;
    const at = (frame: number) => Math.min(seconds, (frame * hop) / sampleRate);
    const symbols: (Timed & { word?: number; delimits: boolean })[] = [];
    for (const { token, startFrame, endFrame, score, word } of spans) {
      // Special symbols say nothing, but one of them may end a word.
      const [text] = this.vocabulary.decodeSymbols([token]);
      const delimits = unit === "characters" && text === wordDelimiter;
      if (text !== undefined || word !== undefined)
        symbols.push({ text: text ?? "", start: at(startFrame), end: at(endFrame), score, word, delimits });
    }
    const words = this.languageModel?.words
      ? lexiconWords(symbols, this.languageModel.words)
      : unit === "characters"
        ? spelledWords(symbols)
        : unit === "pieces"
          ? piecedWords(symbols)
          : unit === "tokens"
            ? symbols.map(timedOf)
            : [];
    const own = symbols.filter(({ delimits, text }) => !delimits && text !== "").map(timedOf);
    const text = (words.length > 0 || unit !== "phones" ? words : own).map((each) => each.text).join(" ");
    return { seconds, text, words, symbols: own };
  }

  dispose(): Promise<void> {
    return this.inference.dispose();
  }
}

const timedOf = ({ text, start, end, score }: Timed): Timed => ({ text, start, end, score });

/** One thing made of several that follow each other. */
function joined(text: string, parts: readonly Timed[]): Timed {
  const score = Math.exp(parts.reduce((sum, part) => sum + Math.log(part.score), 0) / parts.length);
  return { text, start: parts[0].start, end: parts[parts.length - 1].end, score };
}

/** Words as the letters between delimiters. */
function spelledWords(symbols: readonly (Timed & { delimits: boolean })[]): Timed[] {
  const words: Timed[] = [];
  let letters: Timed[] = [];
  const close = () => {
    if (letters.length > 0) words.push(joined(letters.map(({ text }) => text).join(""), letters));
    letters = [];
  };
  for (const symbol of symbols)
    if (symbol.delimits) close();
    else letters.push(symbol);
  close();
  return words;
}

/** Words as the pieces from one that begins a word to the next. */
function piecedWords(symbols: readonly Timed[]): Timed[] {
  const words: Timed[][] = [];
  for (const symbol of symbols)
    if (words.length === 0 || symbol.text.startsWith(wordStart)) words.push([symbol]);
    else words[words.length - 1].push(symbol);
  return words.flatMap((parts) => {
    const text = joinPieces(parts.map((part) => part.text));
    return text === "" ? [] : [joined(text, parts)];
  });
}

/** Words where the lexicon says that one is complete. */
function lexiconWords(
  symbols: readonly (Timed & { word?: number; delimits: boolean })[],
  names: readonly string[],
): Timed[] {
  const words: Timed[] = [];
  let parts: Timed[] = [];
  for (const symbol of symbols) {
    if (!symbol.delimits) parts.push(symbol);
    if (symbol.word === undefined) continue;
    words.push(joined(names[symbol.word], parts.length > 0 ? parts : [symbol]));
    parts = [];
  }
  return words;
}
