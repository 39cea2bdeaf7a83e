import { beamSearch } from "../decode/beam.ts";
import { UserError } from "../errors.ts";
import { fitLanguageModel, openLanguageModel, TOKEN_THRESHOLD } from "./language-model.ts";
import type { Decoder } from "./losses/kind.ts";
import type { Task } from "./task.ts";

/** How CTC heads are decoded with a language model. The defaults are those of S3-Router's comparison (section 4.2). */
export interface LmOptions {
  /** A compiled model (`voxsmith lm compile`), or an ARPA file. */
  readonly lm: string;
  /**
   * Words with their spelling in labels: only sequences of these words are heard, and the model is over words. Without it the
   * model is over labels, or over words that the labels spell.
   */
  readonly lexicon?: string;
  /** Prefixes that survive a frame; default 50. */
  readonly beam?: number;
  /** Factor of the model's natural log probability; default 2. */
  readonly lmWeight?: number;
  /** Added for each word (or label); default -1. */
  readonly wordScore?: number;
}

/** A decoder for each CTC head of a task. @throws UserError where it has none, or the files do not fit its labels */
export async function lmDecoders({ objectives }: Task, options: LmOptions): Promise<Map<string, Decoder>> {
  const { beam = 50, lmWeight: weight = 2, wordScore = -1, lexicon } = options;
  const heads = objectives.flatMap(({ name, target }) =>
    target.kind === "sequence" ? [{ name, ...target }] : [],
  );
  if (heads.length === 0) throw new UserError("--lm: this model has no CTC head to decode");
  const model = await openLanguageModel(options.lm);
  return new Map(
    heads.map(({ name, vocabulary }) => {
      const { scorer } = fitLanguageModel(model, options.lm, vocabulary, { weight, wordScore, lexicon });
      const settings = { blank: vocabulary.blank, width: beam, tokenThreshold: TOKEN_THRESHOLD, scorer };
      return [name, (logits, frames, size) => beamSearch(logits, frames, size, settings)[0]?.tokens ?? []];
    }),
  );
}
