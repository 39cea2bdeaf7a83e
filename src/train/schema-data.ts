import { z } from "zod";
import { chosen, count, fraction, key, nonNegative, positive } from "./schema-basics.ts";

/** The recipe's `upstream` and `corpus`: what is adapted, and to which speech. */

export const upstream = z
  .strictObject({
    model: key(
      z.string().min(1),
      "The pre-trained model: a folder (in Hugging Face's form, or a run), a fairseq, s3prl or WavLM checkpoint file, or a name of the Hugging Face hub such as `facebook/wav2vec2-base` (`@REVISION` after it fixes the version). Whatever `heads` says, `loss: contrastive` and `code-diversity` go on with its quantiser and projections (a model without them is refused), `masked-prediction` with its head where `clusters` are its own codebook.",
    ).optional(),
    config: key(
      z.record(z.string(), z.unknown()),
      "A Hugging Face `config.json`, inline or as a path beside the recipe: the model then starts from random weights.",
    ).optional(),
    heads: key(
      z.enum(["new", "load"]),
      "Whether heads start anew, or from those of the run that `model` names; they must then ask the same of it.",
    ).default("new"),
    layers: key(
      z.enum(["last", "weighted"]),
      "What the heads read: the last hidden state, or a learned softmax-weighted sum of all hidden states, each layer-normed.",
    ).default("last"),
    padding: key(
      z.enum(["auto", "hide", "hear"]),
      "Whether frames of padding are hidden from the model. `auto` hides them except from group-norm models, which were trained to hear them; results of such a model depend a little on who shares a batch.",
    ).default("auto"),
  })
  .refine((u) => (u.model === undefined) !== (u.config === undefined), {
    message: "must name either `model` or `config`, and not both",
  });

export const crdnn = z
  .strictObject({
    channels: key(z.array(count).min(1), "Of each block's two convolutions.").default([64, 100, 100]),
    kernel: key(
      count.refine((n) => n % 2 === 1, "must be odd, so that every frame stays in its place"),
      "Frames and features that a convolution sees.",
    ).default(3),
    frequencyPooling: key(
      count,
      "Neighbouring features of which the largest goes on, after each block.",
    ).default(2),
    timePooling: key(count, "Neighbouring frames of which the largest goes on to the LSTMs.").default(4),
    rnnLayers: key(count, "Bidirectional LSTM layers.").default(5),
    rnnNeurons: key(count, "Units of each direction.").default(1024),
    dnnNeurons: key(z.array(count).min(1), "Widths of the dense layers behind them.").default([512, 512]),
    dropout: key(fraction, "After each block, LSTM and dense layer.").default(0.15),
  })
  .describe(
    "A convolutional, recurrent and dense network (SpeechBrain's CRDNN) between the upstream's features and all heads, which then hear fewer frames. The defaults are those of Zaiem et al. (2022), appendix A; by default there is none.",
  );

const overlap = key(
  z.boolean(),
  "Accept a speaker in two parts; refused otherwise, since results on heard voices say little about new ones.",
).default(false);
const seed = key(
  z.int(),
  "Draws the parts; apart from the run's own seed, so that runs with several seeds share their parts.",
).default(1);

/** Fits `SplitSpec` of corpus/splits.ts, which does the work (`list` once its file is read). */
const split = z.discriminatedUnion("by", [
  z.strictObject({ by: z.literal("field"), allowSpeakerOverlap: overlap }),
  z.strictObject({
    by: z.literal("speakers"),
    test: key(z.array(z.string()).min(1), "Speakers of the test part."),
    valid: key(z.array(z.string()), "Speakers of the validation part; all others train.").default([]),
    allowSpeakerOverlap: overlap,
  }),
  z.strictObject({
    by: z.literal("folds"),
    fold: key(z.int().min(0), "Which fold is the test part; the next ones (cyclically) validate.").default(0),
    folds: key(z.int().min(2), "How many folds; no speaker is in two of them.").default(5),
    validFolds: key(z.int().min(0), "How many folds validate.").default(1),
    stratify: key(
      z.array(z.string()),
      "Labels, such as `severity`, whose values are dealt evenly over the folds.",
    ).default([]),
    seed,
    allowSpeakerOverlap: overlap,
  }),
  z.strictObject({
    by: z.literal("list"),
    file: key(
      z.string().min(1),
      'A JSON file, relative to the recipe: `{"corpora": {NAME: {"train": [id, ...], "valid": [...], "test": [...]}}}`. `recipes/splits/shared.json` divides the corpora that all recipes share.',
    ),
    corpus: key(z.string().min(1), "Whose lists in that file."),
    allowSpeakerOverlap: overlap,
  }),
  z.strictObject({
    by: z.literal("random"),
    valid: key(fraction, "Share of utterances that validate.").default(0.1),
    test: key(fraction, "Share of utterances of the test part.").default(0.2),
    seed,
    allowSpeakerOverlap: overlap,
  }),
]);

const divided = key(
  chosen("by", "field", split).prefault({}),
  "How utterances are divided: by the manifest's `split` field, by lists of speakers, into speaker-independent folds, by a file's lists of utterances, or at random.",
);

export const corpus = z
  .strictObject({
    manifest: key(
      z.string(),
      "The list of utterances, one JSON object a line, relative to the folder given by `--data`.",
    ).optional(),
    synthetic: z
      .strictObject({
        speakers: key(
          count,
          "How many speakers: a voice variant with pitch, liveliness and tempo each.",
        ).default(20),
        utterances: key(count, "How many utterances of each speaker.").default(12),
        voice: key(z.string(), "The voice of espeak-ng, which is the language.").default("en-us"),
        sentences: key(
          z.array(z.string()).min(1),
          "What is said; built-in sentences for English, German, French, Spanish, Dutch, Italian, Swedish, Russian, Turkish, Tatar, Kyrgyz and Mandarin otherwise.",
        ).optional(),
        graded: key(
          z.boolean(),
          "Give each speaker one of five grades of simulated dysarthria, as `labels.severity` (0 to 4).",
        ).default(false),
        seed: key(z.int(), "Draws voices, sentences and grades.").default(1),
      })
      .describe("Speech made by espeak-ng instead of a manifest, with text, phones, speakers and splits.")
      .optional(),
    sampleRate: key(count, "Samples per second that the model hears.").default(16000),
    resample: key(
      z.boolean(),
      "Convert other sample rates; with `false` a recording at another rate is refused.",
    ).default(true),
    normalize: key(
      z.boolean(),
      "Zero mean and unit variance per utterance, as most pre-trained models expect.",
    ).default(true),
    minSeconds: key(nonNegative, "Shorter training utterances are left out and listed.").default(0.1),
    maxSeconds: key(positive, "Longer training utterances are left out and listed.").default(30),
    classes: key(
      z.record(z.string(), z.array(z.string()).min(2)),
      'The values that a label may have, in order: `{severity: ["0", "1", "2"]}`. Any other is refused, and a class stays one where the training part lacks it. By default those of the training part.',
    ).optional(),
    symbols: key(
      z.array(z.string().min(1)).min(1),
      "The phones (tokens, characters) that there are; by default those of the training part, so that one which only other parts have is refused.",
    ).optional(),
    split: divided,
    also: key(
      z.array(z.strictObject({ manifest: key(z.string(), "As above."), split: divided })),
      "Further corpora whose parts join this one's, so that batches mix them: for pre-training. Ids must differ.",
    ).default([]),
  })
  .refine((c) => (c.manifest === undefined) !== (c.synthetic === undefined), {
    message: "must name either `manifest` or `synthetic`, and not both",
  });
