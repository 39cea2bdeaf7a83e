import { readFileSync } from "node:fs";
import { type BeamOptions, beamSearch } from "../decode/beam.ts";
import { labelScorer, lexiconScorer, readLexicon } from "../decode/lexicon.ts";
import { type NgramModel, readArpa } from "../decode/ngram.ts";
import { readNgrams } from "../decode/ngram-file.ts";
import { UserError } from "../errors.ts";
import { openFile, reason } from "../weights/file.ts";
import type { Decoder } from "./losses/kind.ts";
import type { Task } from "./task.ts";

/** How CTC heads are decoded with a language model. The defaults are those of S3-Router's comparison (section 4.2). */
export interface LmOptions {
  /** A compiled model (`voxsmith lm compile`), or an ARPA file. */
  readonly lm: string;
  /**
   * Words with their spelling in labels: only sequences of these words are heard, and the model is over words. Without it the
   * model is over labels.
   */
  readonly lexicon?: string;
  /** Prefixes that survive a frame; default 50. */
  readonly beam?: number;
  /** Factor of the model's natural log probability; default 2. */
  readonly lmWeight?: number;
  /** Added for each word (or label); default -1. */
  readonly wordScore?: number;
}

/** Labels less likely than this at a frame are not tried there: they would not survive a beam of 50. */
const TOKEN_THRESHOLD = 15;

const lines = (path: string): string[] => {
  try {
    return readFileSync(path, "utf8").split("\n");
  } catch (error) {
    throw new UserError(`${path}: ${reason(error)}`);
  }
};

/** Opens a model in either form. @throws UserError naming the file */
export function openLanguageModel(path: string): NgramModel {
  const source = openFile(path);
  try {
    const start = new Uint8Array(Math.min(8, source.size));
    source.read(0, start);
    if (new TextDecoder().decode(start) === "VXNGRAM1") return readNgrams(source);
  } finally {
    source.close();
  }
  return readArpa(lines(path), path);
}

/** A decoder for each CTC head of a task. @throws UserError where it has none, or the files do not fit its labels */
export function lmDecoders({ objectives }: Task, options: LmOptions): Map<string, Decoder> {
  const { beam = 50, lmWeight = 2, wordScore = -1 } = options;
  const heads = objectives.filter(({ target }) => target.kind === "sequence");
  if (heads.length === 0) throw new UserError("--lm: this model has no CTC head to decode");
  const model = openLanguageModel(options.lm);
  const spelled = options.lexicon === undefined ? undefined : lines(options.lexicon);
  return new Map(
    heads.map(({ name, target }) => {
      if (target.kind !== "sequence") throw new Error("filtered above");
      const { symbols, blank } = target.vocabulary;
      const separator = symbols.indexOf("|");
      const search = <S>(scorer: BeamOptions<S>["scorer"]): Decoder => {
        const settings: BeamOptions<S> = { blank, width: beam, tokenThreshold: TOKEN_THRESHOLD, scorer };
        return (logits, frames, vocabulary) =>
          beamSearch(logits, frames, vocabulary, settings)[0]?.tokens ?? [];
      };
      if (spelled === undefined)
        return [name, search(labelScorer(model, symbols, { weight: lmWeight, labelScore: wordScore }))];
      const entries = readLexicon(spelled, symbols, options.lexicon);
      const words = { weight: lmWeight, wordScore, separator: separator < 0 ? undefined : separator };
      return [name, search(lexiconScorer(entries, model, words))];
    }),
  );
}
