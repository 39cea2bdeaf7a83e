import { existsSync } from "node:fs";
import { join } from "node:path";
import { withDurations } from "../../corpus/readers/reader.ts";
import { readTrials, type Trial } from "../../corpus/readers/voxceleb.ts";
import { UserError } from "../../errors.ts";
import { equalErrorRate } from "../../metrics/verification.ts";
import { linear } from "../../nn/layers.ts";
import { additiveMargin } from "../../nn/losses.ts";
import { lostFrames, statisticsPooling, tdnn, xvectorLayers } from "../../nn/xvector.ts";
import * as ops from "../../ops/index.ts";
import { normalInit } from "../../params/params.ts";
import { i32 } from "../../runtime/program.ts";
import { labelOf, listed, type Parts } from "../build.ts";
import { folderOf, needParts, partsOf } from "../corpora.ts";
import { common } from "../recipes.ts";
import type { Learner, Prediction, Prepare, ProbeRecipe, ProbeTask } from "../task.ts";

const WIDTH = 512;
const LAST = 1500;
const layers = xvectorLayers(WIDTH, LAST);
const MARGIN = { scale: 30, margin: 0.4 };
/** Seconds that a training recording must have. */
const SHORTEST = 2;

/** SUPERB's speaker verification: x-vectors of VoxCeleb1, additive-margin softmax, cosine scores. */
export const asv: Prepare = async (root, trial) => {
  const folder = folderOf(root, "asv", "VoxCeleb1", "voxceleb1");
  const list = ["voxceleb1_test_v2.txt", "veri_test2.txt", "veri_test.txt"]
    .flatMap((name) => [join(folder, name), join(root, name)])
    .find((path) => existsSync(path));
  if (list === undefined) throw new UserError(`${folder}: the task asv needs veri_test2.txt there`);
  const parts = await partsOf(folder, "voxceleb1", { task: "verification" });
  needParts("asv", folder, parts, "train", "test");
  return [await verificationTask(recipe, trial?.hidden ?? WIDTH, parts, readTrials(list), list)];
};

/** The task on any corpus with labels `speaker` and trials over its test part. */
export async function verificationTask(
  given: ProbeRecipe,
  width: number,
  parts: Parts,
  trials: readonly Trial[],
  list: string,
): Promise<ProbeTask> {
  const heard = new Set(trials.flatMap(({ first, second }) => [first, second]));
  const tested = parts.test.filter(({ id }) => heard.has(id));
  const known = new Set(tested.map(({ id }) => id));
  const missing = [...heard].find((id) => !known.has(id));
  if (missing !== undefined)
    throw new UserError(`${list}: the recording ${missing} of a trial is not in the test part`);
  const train = (await withDurations(parts.train)).filter(({ duration }) => duration! > SHORTEST);
  const { items, parts: indices } = listed({ train, valid: tested, test: tested }, given);
  const speakers = [...new Set(train.map((u) => labelOf(u, "speaker")))].sort();
  const classes = new Map(speakers.map((name, i) => [name, i]));
  const answers = items.map(({ utterance }) => classes.get(labelOf(utterance, "speaker")) ?? -1);
  const ids = items.map(({ utterance }) => utterance.id);
  return {
    ...{ name: "asv", recipe: given, items, parts: indices, columns: { eer: "ASV" } },
    notes: [
      "there is no validation part: as in SUPERB the best of the saved heads counts, chosen on the trials themselves",
      "silence is not cut out of the recordings",
    ],
    headline: { metric: "eer", higher: false },
    learner: () => verifier(width, speakers.length, answers, ids, trials),
  };
}

function verifier(
  width: number,
  speakers: number,
  answers: readonly number[],
  ids: readonly string[],
  trials: readonly Trial[],
): Learner {
  // The last layer is about three times as wide, as 1500 is to 512.
  const stack = xvectorLayers(width, Math.round((LAST / WIDTH) * width));
  const lost = lostFrames(stack);
  const init = normalInit(Math.sqrt(2 / (speakers + width)));
  return {
    // Trials compare what the first layer behind the pooling says; the second serves training only.
    scores({ x, frames }, p) {
      const h = tdnn(linear(x, p.at("connector"), width), stack, p.at("module"));
      // Recordings shorter than the layers' context count as one frame.
      const counts = ops.maximum(ops.sub(ops.cast(frames, "f32"), lost), 1);
      const pooled = statisticsPooling(h, ops.cast(counts, "i32"));
      return ops.relu(linear(pooled, p.at("linear1"), width));
    },
    loss(scores, _, p, declare) {
      const [batch] = scores.shape;
      const labels = declare(ops.input("labels", [batch], "i32"));
      const h = ops.relu(linear(scores, p.at("linear2"), width));
      const directions = p.at("objective").get("W", [speakers, width], init);
      return ops.reduceSum(additiveMargin(h, directions, labels, MARGIN), [0]);
    },
    feeds: (items) => ({
      labels: i32(
        [items.length],
        items.map((item) => answers[item]),
      ),
    }),
    weight: (items) => items.length,
    read: (item, { values }) => ({ id: ids[item], embedding: Array.from(values) }),
    metrics(predictions) {
      const scored = scoresOf(trials, predictions);
      const { rate } = equalErrorRate(
        scored.map(({ score }) => score),
        scored.map(({ same }) => same),
      );
      return { eer: rate };
    },
    lines: (predictions) => scoresOf(trials, predictions),
  };
}

function scoresOf(trials: readonly Trial[], predictions: ReadonlyMap<number, Prediction>) {
  const vectors = new Map(
    [...predictions.values()].map(({ id, embedding }) => [String(id), embedding as number[]]),
  );
  return trials.map(({ first, second, same }) => ({
    ...{ first, second, same },
    score: cosine(vectors.get(first)!, vectors.get(second)!),
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

const recipe: ProbeRecipe = {
  ...common,
  optimizer: { name: "adamw", lr: 1e-4, weightDecay: 0.01 },
  head: {
    type: "x-vector",
    projection: WIDTH,
    layers: layers.map(({ width, context, dilation }) => [width, context, dilation]),
    pooling: "mean and deviation",
    embedding: WIDTH,
    loss: { name: "additive-margin softmax", ...MARGIN },
    score: "cosine",
  },
  clip: 1000,
  // 10 utterances, gradients of five batches added.
  ...{ steps: 200_000, batch: 50, sampling: "shuffle", evaluateEvery: 10_000, maxSamples: 128_000 },
  best: { metric: "eer", higher: false },
  source:
    "read: s3prl downstream/sv_voxceleb1/configs/amsoftmax.yaml, model.py, expert.py, dataset.py (0.4.18); AdamW's weight decay is PyTorch's default",
};
