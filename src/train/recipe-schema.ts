import { z } from "zod";
import { objective } from "./losses/index.ts";
import { count, fraction, key, nonNegative, positive } from "./schema-basics.ts";
import { corpus, crdnn, upstream } from "./schema-data.ts";
import { optimizer, plan, schedule } from "./schema-learning.ts";
import { workers } from "./worker-weights.ts";

/**
 * What a recipe may say. The description of each key is the only place where its meaning stands: docs/recipes.md is
 * generated from this file and its parts, and error messages read the keys off it.
 */

const batch = z.strictObject({
  size: key(count, "Utterances at most.").default(8),
  maxSeconds: key(positive, "Seconds of audio at most, padding included.").default(60),
  accumulate: key(count, "Batches whose gradients are added before each update.").default(1),
});

const mask = (what: string, prob: string) =>
  z
    .strictObject({
      prob: key(fraction, prob).optional(),
      length: key(count, `${what} in a span.`).optional(),
      minMasks: key(z.int().min(0), "Spans an utterance gets at least.").optional(),
    })
    .prefault({});

const span = (low: z.ZodNumber) =>
  z.tuple([low, low]).refine(([from, to]) => from <= to, { message: "must be [lowest, highest]" });

const rate = (what: string) => key(fraction, what).optional();

export const recipeSchema = z
  .strictObject({
    name: key(z.string().regex(/^[\w.-]+$/, "must be letters, digits, `.`, `_` or `-`"), "Name of the run."),
    seed: key(z.int(), "Everything random follows from it.").default(1),
    upstream: key(upstream, "The model that is adapted."),
    corpus: key(corpus, "The speech it learns from."),
    streams: key(
      z.record(
        z.string(),
        z.strictObject({
          corpus: key(corpus, "Its speech, with the keys of `corpus`."),
          batch: key(batch.prefault({}), "Its batches, with the keys of `batch`."),
        }),
      ),
      "Further corpora by name, for objectives with a `stream`; each step takes one batch of every stream.",
    ).default({}),
    workers: key(workers, workers.description!).optional(),
    crdnn: key(crdnn, crdnn.description!).optional(),
    objectives: key(
      z.record(z.string(), objective),
      "The losses by name; what is minimised is their weighted sum.",
    ),
    plan: key(plan.prefault({}), "Which parameters train, when and how."),
    optimizer: key(optimizer, "How parameters follow their gradients."),
    schedule: key(schedule, "How the learning rate moves over the run."),
    batch: key(batch.prefault({}), "Batches of the main corpus: utterances of similar duration together."),
    epochs: key(
      positive,
      "How often every training utterance is used; 10 where `steps` is not given either.",
    ).optional(),
    steps: key(count, "Number of updates, instead of `epochs`.").optional(),
    dropout: key(
      z
        .strictObject({
          attention: rate("Attention weights."),
          hidden: rate("Output of each attention and feed-forward block."),
          activation: rate("Inside the feed-forward block."),
          featProj: rate("After the feature projection."),
          final: rate("Before the heads."),
          layerdrop: rate("Chance that a whole layer is skipped."),
        })
        .prefault({}),
      "Overrides of the model's configuration.",
    ),
    augment: key(
      z
        .strictObject({
          timeMask: key(
            mask("Frames", "Share of frames that masks start out to cover; 0 switches it off."),
            "Spans of frames replaced by the learned mask vector.",
          ),
          channelMask: key(
            mask("Channels", "Share of channels that masks start out to cover; 0 switches it off."),
            "Spans of feature channels set to zero.",
          ),
          features: key(
            z.strictObject({
              timeWarp: key(z.int().min(0), "Frames that a point of time moves at most.").default(0),
              timeMasks: key(z.int().min(0), "Masks over frames.").default(0),
              timeWidth: key(z.int().min(0), "Frames that each covers, less than this many.").default(0),
              channelMasks: key(z.int().min(0), "Masks over channels.").default(0),
              channelWidth: key(z.int().min(0), "Channels that each covers, less than this many.").default(0),
            }),
            "SpecAugment over what the heads hear, as s3prl applies it; by default none.",
          ).optional(),
          speed: key(
            span(positive),
            "Each training utterance is played at a speed drawn evenly from `[lowest, highest]`; pitch and formants move along, so a few voices sound like many.",
          ).optional(),
          noise: key(
            span(z.number()),
            "White noise at a signal-to-noise ratio in dB drawn evenly from `[lowest, highest]`.",
          ).optional(),
        })
        .prefault({}),
      "Changes of the training audio, and SpecAugment over the projected features, whose values are the model configuration's where left out.",
    ),
    evaluate: key(
      z
        .strictObject({
          every: key(
            z.union([z.literal("epoch"), count]),
            "`epoch`, or a number of steps between evaluations on the validation part.",
          ).default("epoch"),
          best: key(
            z.string(),
            "The metric that picks the best checkpoint: `loss`, or OBJECTIVE.METRIC such as `digit.accuracy`. A best is never kept across a change of the loss.",
          ).default("loss"),
          mode: key(
            z.enum(["min", "max"]),
            "Whether smaller or larger is better. By default `max` for accuracy, f1, recall, precision and kappa, and `min` otherwise.",
          ).optional(),
          batch: key(count, "Utterances at once.").default(8),
        })
        .prefault({}),
      "Validation while training.",
    ),
    baseline: key(
      z.enum(["none", "log-mel-ridge"]),
      "A simple model for comparison, printed with the result: ridge regression on mean and standard deviation of the log-mel spectrum.",
    ).default("none"),
    checkpoint: key(
      z
        .strictObject({
          everySteps: key(
            z.int().min(0),
            "Updates between checkpoints; 0 leaves it to the minutes alone.",
          ).default(0),
          everyMinutes: key(nonNegative, "Minutes between checkpoints; 0 leaves it to the steps.").default(1),
          keep: key(count, "How many of the newest stay.").default(2),
          last: key(
            z.boolean(),
            "Also export the model of the last step, into the folder `last`; the run's own model is that of the best evaluation.",
          ).default(false),
        })
        .prefault({}),
      "What a killed run resumes from; one is also written on Ctrl-C.",
    ),
    threads: key(
      z.int().min(0),
      "Processor threads; 0 takes all. Bit-identical repeats need the same number.",
    ).default(0),
    guards: key(
      z
        .strictObject({
          finite: key(z.boolean(), "Stop at a NaN or infinity and name the parameter or loss.").default(true),
          blankEvaluations: key(
            z.int().min(0),
            "Stop after so many evaluations in a row in which a CTC head heard nothing at all; 0 never stops.",
          ).default(0),
          collapse: key(
            z
              .strictObject({
                codes: key(positive, "Fewer in use than this (e to the entropy) are a collapse.").default(2),
                evaluations: key(z.int().min(0), "How many in a row stop the run; 0 never stops.").default(0),
              })
              .prefault({}),
            "Pre-training in which nearly all frames get one code or cluster.",
          ),
          longTargets: key(
            z.enum(["refuse", "skip"]),
            "Utterances with more CTC targets than frames: refuse to start and name them, or leave them out.",
          ).default("refuse"),
        })
        .prefault({}),
      "What stops a run that went wrong.",
    ),
  })
  .superRefine((recipe, context) => {
    const fault = (path: (string | number)[], message: string) =>
      context.addIssue({ code: "custom", path, message });
    if (recipe.epochs !== undefined && recipe.steps !== undefined)
      fault(["steps"], "must not be given together with `epochs`");
    if (Object.keys(recipe.objectives).length === 0) fault(["objectives"], "must name at least one loss");
    if ("main" in recipe.streams) fault(["streams", "main"], "is the name of the recipe's own `corpus`");
    for (const [name, o] of Object.entries(recipe.objectives)) {
      if (o.stream !== "main" && !(o.stream in recipe.streams))
        fault(
          ["objectives", name, "stream"],
          `must be one of ${["main", ...Object.keys(recipe.streams)].join(", ")}`,
        );
    }
    const [objectiveName, metric] = recipe.evaluate.best.split(".");
    if (recipe.evaluate.best !== "loss" && (!metric || !(objectiveName in recipe.objectives)))
      fault(
        ["evaluate", "best"],
        `must be \`loss\` or OBJECTIVE.METRIC with OBJECTIVE one of ${Object.keys(recipe.objectives).join(", ")}`,
      );
  })
  .transform(({ workers: _, ...recipe }) => ({
    ...recipe,
    // Resolved here, so that a run folder's recipe says what was done and not what was left out.
    ...(recipe.epochs === undefined && recipe.steps === undefined ? { epochs: 10 } : {}),
    evaluate: { ...recipe.evaluate, mode: recipe.evaluate.mode ?? bestMode(recipe.evaluate.best) },
  }));

function bestMode(metric: string): "min" | "max" {
  return /accuracy|f1|recall|precision|kappa/i.test(metric) ? "max" : "min";
}

/** A recipe as the trainer reads it: every default filled in. */
export type Recipe = z.output<typeof recipeSchema>;
export type { Objective } from "./losses/index.ts";
export type { HeadSpec, Moment } from "./losses/keys.ts";
export type CorpusSpec = Recipe["corpus"];
export type SplitSpec = CorpusSpec["split"];
export type OptimizerSpec = Recipe["optimizer"];
