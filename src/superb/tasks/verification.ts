import { withDurations } from "../../corpus/readers/reader.ts";
import type { Trial } from "../../corpus/readers/voxceleb.ts";
import { RunError, UserError } from "../../errors.ts";
import { Plda } from "../../metrics/plda.ts";
import { equalErrorRate } from "../../metrics/verification.ts";
import { linear } from "../../nn/layers.ts";
import { additiveMargin } from "../../nn/losses.ts";
import { lostFrames, statisticsPooling, tdnn, xvectorLayers } from "../../nn/xvector.ts";
import * as ops from "../../ops/index.ts";
import { normalInit, type Params } from "../../params/params.ts";
import { i32 } from "../../runtime/program.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { listed, type Parts, speakerOf } from "../build.ts";
import type { HeadInput, Learner, Prediction, ProbeRecipe, ProbeTask } from "../task.ts";

/** The x-vector's own widths: of its layers, of the last of them, and of the embedding. */
export const XVECTOR = { width: 512, last: 1500, embedding: 512 } as const;

/** How speakers are told apart in training, and embeddings compared in trials. */
export type Verification =
  /** SUPERB's: additive-margin softmax behind two more layers; the cosine of what the first of them says. */
  | { readonly by: "cosine"; readonly scale: number; readonly margin: number }
  /** Zaiem et al.'s (2022, appendix A): softmax behind one more layer; PLDA of the embeddings of the training part. */
  | { readonly by: "plda"; readonly rank: number; readonly rounds: number };

export interface VerificationTask {
  readonly name: string;
  readonly recipe: ProbeRecipe;
  readonly notes: readonly string[];
  readonly columns: ProbeTask["columns"];
  /** Width of all but the last time-delay layer, and of the embedding; the last is about three times as wide. */
  readonly width: number;
  readonly verification: Verification;
  /** Seconds that a training recording must have. */
  readonly shortest: number;
  /** Names the trials in messages. */
  readonly list: string;
}

/**
 * X-vectors on any corpus with labels `speaker`, and trials over its test part.
 * @throws UserError where a trial names a recording that is not there
 */
export async function verificationTask(
  { width, verification, shortest, list, recipe, ...named }: VerificationTask,
  parts: Parts,
  trials: readonly Trial[],
): Promise<ProbeTask> {
  const heard = new Set(trials.flatMap(({ first, second }) => [first, second]));
  const tested = parts.test.filter(({ id }) => heard.has(id));
  const known = new Set(tested.map(({ id }) => id));
  const missing = [...heard].find((id) => !known.has(id));
  if (missing !== undefined)
    throw new UserError(`${list}: the recording ${missing} of a trial is not in the test part`);
  const train = (await withDurations(parts.train)).filter(({ duration }) => duration! > shortest);
  const speakers = [...new Set(train.map((u) => speakerOf(u)))].sort();
  const valid = recipe.best === undefined ? [] : tested;
  const { items, parts: indices } = listed({ train, valid, test: tested }, recipe);
  const classes = new Map(speakers.map((name, i) => [name, i]));
  const answers = items.map(({ utterance }) => classes.get(speakerOf(utterance)) ?? -1);
  const ids = items.map(({ utterance }) => utterance.id);
  return {
    ...named,
    ...{ recipe, items, parts: indices },
    headline: { metric: "eer", higher: false },
    learner: () => verifier({ width, verification, speakers: speakers.length, answers, ids, trials }),
  };
}

interface Verifier extends Pick<VerificationTask, "width" | "verification"> {
  readonly speakers: number;
  readonly answers: readonly number[];
  readonly ids: readonly string[];
  readonly trials: readonly Trial[];
}

function verifier({ width, verification, speakers, answers, ids, trials }: Verifier): Learner {
  const init = normalInit(Math.sqrt(2 / (speakers + width)));
  let compare = cosine;
  return {
    // Trials compare what the first layer behind the pooling says; the second serves training only.
    scores(input, p) {
      const embedding = xvectorOf(input, p, width);
      // A rectifier's zeros are no values of a Gaussian.
      return verification.by === "plda" ? embedding : ops.relu(embedding);
    },
    loss(scores, _, p, declare) {
      const labels = declare(ops.input("labels", [scores.shape[0]], "i32"));
      if (verification.by === "cosine") {
        const h = ops.relu(linear(scores, p.at("linear2"), width));
        const directions = p.at("objective").get("W", [speakers, width], init);
        return ops.reduceSum(additiveMargin(h, directions, labels, verification), [0]);
      }
      return crossEntropySum(classesOf(scores, p, width, speakers), labels, speakers);
    },
    feeds: (items) => ({
      labels: i32(
        [items.length],
        items.map((item) => answers[item]),
      ),
    }),
    weight: (items) => items.length,
    read: (item, { values }) => ({ id: ids[item], embedding: Array.from(values) }),
    ...(verification.by === "plda" && {
      fit(predictions) {
        const entries = [...predictions].sort((a, b) => a[0] - b[0]);
        const plda = trained(
          entries.map(([, { embedding }]) => embedding as number[]),
          entries.map(([item]) => answers[item]),
          verification,
        );
        compare = (a, b) => plda.score(a, b);
      },
    }),
    metrics(predictions) {
      const scored = scoresOf(trials, predictions, compare);
      const { rate } = equalErrorRate(
        scored.map(({ score }) => score),
        scored.map(({ same }) => same),
      );
      return { eer: rate };
    },
    lines: (predictions) => scoresOf(trials, predictions, compare),
  };
}

/** The x-vector of features, and what its training asks of it. */
export function xvectorOf({ x, frames }: Pick<HeadInput, "x" | "frames">, p: Params, width: number): Tensor {
  const stack = xvectorLayers(width, Math.round((XVECTOR.last / XVECTOR.width) * width));
  const h = tdnn(linear(x, p.at("connector"), width), stack, p.at("module"));
  // Recordings shorter than the layers' context count as one frame.
  const counts = ops.maximum(ops.sub(ops.cast(frames, "f32"), lostFrames(stack)), 1);
  return linear(statisticsPooling(h, ops.cast(counts, "i32")), p.at("linear1"), width);
}

/** Scores of classes by one more layer behind the embedding. */
export const classesOf = (embedding: Tensor, p: Params, width: number, classes: number): Tensor =>
  linear(ops.relu(linear(ops.relu(embedding), p.at("linear2"), width)), p.at("output"), classes);

export function crossEntropySum(logits: Tensor, labels: Tensor, classes: number): Tensor {
  const [batch] = logits.shape;
  const wanted = ops.equal(ops.reshape(labels, [batch, 1]), ops.range(classes));
  return ops.neg(ops.reduceSum(ops.mul(ops.logSoftmax(logits), ops.cast(wanted, "f32")), [0, 1]));
}

function trained(
  embeddings: readonly number[][],
  speakers: readonly number[],
  { rank, rounds }: Extract<Verification, { by: "plda" }>,
): Plda {
  try {
    return Plda.train(embeddings, speakers, { rank, rounds });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new RunError(`PLDA of ${embeddings.length} embeddings: ${error.message}`);
  }
}

function scoresOf(
  trials: readonly Trial[],
  predictions: ReadonlyMap<number, Prediction>,
  compare: (a: readonly number[], b: readonly number[]) => number,
) {
  const vectors = new Map(
    [...predictions.values()].map(({ id, embedding }) => [String(id), embedding as number[]]),
  );
  return trials.map(({ first, second, same }) => ({
    ...{ first, second, same },
    score: compare(vectors.get(first)!, vectors.get(second)!),
  }));
}

function cosine(a: readonly number[], b: readonly number[]): number {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return ab / Math.max(Math.sqrt(aa * bb), 1e-12);
}
