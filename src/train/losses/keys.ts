import { z } from "zod";
import { count, fraction, key, nonNegative } from "../schema-basics.ts";

/** The recipe keys that several losses share. */

export const moment = z
  .union([
    z.strictObject({ epoch: key(nonNegative, "Epochs since the start; 0 is the first.") }),
    z.strictObject({ step: key(z.int().min(0), "Updates since the start.") }),
    z.strictObject({ fraction: key(fraction, "Share of all steps.") }),
  ])
  .describe("A point of the run.");
export type Moment = z.output<typeof moment>;

/** Keys of every objective; its `loss` comes before them. */
export const objectiveKeys = {
  weight: key(
    z.union([
      nonNegative,
      z
        .array(z.strictObject({ at: moment, weight: key(nonNegative, "The weight there.") }))
        .min(1)
        .describe("Points between which the weight moves in a straight line."),
    ]),
    "Its factor in the sum of losses: a number, or a list of points `{at: {epoch: 3}, weight: 0.5}` joined by straight lines.",
  ).default(1),
  from: key(moment, "Counts from here on: `{epoch: 10}`, `{step: 500}` or `{fraction: 0.1}`.").optional(),
  until: key(moment, "Counts up to here, this point not included.").optional(),
  stream: key(
    z.string(),
    "Which corpus it learns from: `main`, or a name under `streams`; each stream has its own batches.",
  ).default("main"),
};

const lstmHead = z.strictObject({
  lstm: key(
    z.strictObject({
      hidden: key(count, "Units per direction.").default(256),
      layers: key(count, "Stacked layers.").default(1),
      bidirectional: key(z.boolean(), "Read both ways.").default(true),
      dropout: key(fraction, "Between layers.").default(0),
      projection: key(
        z.int().min(0),
        "Width of a linear layer before the first LSTM; 0 leaves it out.",
      ).default(0),
    }),
    "Stacked LSTMs before the linear layer.",
  ),
});

const projectedHead = z.strictObject({
  projection: key(count, "Width of a linear layer before pooling; a second one gives the scores."),
});

export const head = key(
  z.union([z.literal("linear"), projectedHead, lstmHead]),
  "`linear`; `projection:` with a width, two linear layers; or `lstm:` with its own keys, ending in a linear layer.",
).default("linear");
export type HeadSpec = z.output<typeof head>;

export const pool = key(
  z.enum(["mean", "none"]),
  "`mean` over the valid frames before the head (one output an utterance), or `none`: one output a frame, whose mean is the utterance's.",
).default("mean");

/** Matches and explains the targets of a loss. */
export const targetKey = (pattern: RegExp, wanted: string, description: string) =>
  key(z.string().regex(pattern, `must be ${wanted}`), description);

export const labelTarget = (loss: string) =>
  targetKey(
    /^labels\.[^.]+$/,
    `\`labels.NAME\` for ${loss}`,
    "`labels.NAME` of the manifest; `labels.speaker` is its `speaker` where no label is called so.",
  );
export const labelOf = (target: string): string => target.slice("labels.".length);
