import { beamSearch } from "../decode/beam.ts";
import { UserError } from "../errors.ts";
import { fitLanguageModel, openLanguageModel, TOKEN_THRESHOLD } from "./language-model.ts";
import { lossOf } from "./losses/index.ts";
import type { Decoder, ReadingOptions } from "./losses/kind.ts";
import { isRecurrentLm, RecurrentLanguageModel } from "./recurrent-lm.ts";
import type { Task } from "./task.ts";

/** How heads are decoded. The defaults for n-grams are those of S3-Router's comparison (section 4.2), others SpeechBrain's. */
export interface LmOptions {
  /**
   * For CTC heads a compiled model (`voxsmith lm compile`) or an ARPA file; for heads that write symbol by symbol the folder of a
   * recurrent model (`voxsmith lm train`).
   */
  readonly lm?: string;
  /**
   * Words with their spelling in labels: only sequences of these words are heard, and the model is over words. Without it the
   * model is over labels, or over words that the labels spell.
   */
  readonly lexicon?: string;
  /** Prefixes that survive a frame, default 50; of heads that write symbol by symbol sequences, default the recipe's. */
  readonly beam?: number;
  /** Factor of the model's natural log probability; default 2, of a recurrent model 0.5. */
  readonly lmWeight?: number;
  /** Added for each word (or label); default -1. */
  readonly wordScore?: number;
}

/** What SpeechBrain divides its language model's logits by. */
const TEMPERATURE = 1.25;

/**
 * What an evaluation is told of its heads' decoding; dispose it afterwards.
 * @throws UserError where the model has no head that the language model is for, or its symbols do not fit
 */
export async function decodingOf(
  task: Task,
  options: LmOptions | undefined,
  threads: number,
): Promise<{
  decoders?: ReadonlyMap<string, Decoder>;
  reading: Omit<ReadingOptions, "threads">;
  dispose(): Promise<void>;
}> {
  const { lm, beam, lmWeight: weight = 0.5 } = options ?? {};
  const nothing = async () => {};
  if (lm === undefined) return { reading: { beam }, dispose: nothing };
  if (!isRecurrentLm(lm))
    return { decoders: await lmDecoders(task, { ...options, lm }), reading: { beam }, dispose: nothing };
  if (!task.objectives.some(({ spec }) => lossOf(spec).open !== undefined))
    throw new UserError(
      `--lm: ${lm} is a recurrent model, for heads that write symbol by symbol (loss: attention); CTC heads take n-grams`,
    );
  const model = await RecurrentLanguageModel.open(lm, threads);
  const reading = { beam, languageModel: { model, weight, temperature: TEMPERATURE } };
  return { reading, dispose: () => model.dispose() };
}

/** A decoder for each CTC head of a task. @throws UserError where it has none, or the files do not fit its labels */
async function lmDecoders(
  { objectives }: Task,
  options: LmOptions & { readonly lm: string },
): Promise<Map<string, Decoder>> {
  const { beam = 50, lmWeight: weight = 2, wordScore = -1, lexicon } = options;
  const heads = objectives.flatMap(({ name, spec, target }) =>
    target.kind === "sequence" && lossOf(spec).open === undefined ? [{ name, ...target }] : [],
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
