import { existsSync } from "node:fs";
import { join } from "node:path";
import { readTrials } from "../../corpus/readers/voxceleb.ts";
import { UserError } from "../../errors.ts";
import { xvectorLayers } from "../../nn/xvector.ts";
import { folderOf, needParts, partsOf } from "../corpora.ts";
import { common } from "../recipes.ts";
import type { Prepare, ProbeRecipe } from "../task.ts";
import { verificationTask, XVECTOR } from "./verification.ts";

/** SUPERB's additive margin. */
export const MARGIN = { by: "cosine", scale: 30, margin: 0.4 } as const;

/** Recordings and trials of VoxCeleb1's original test. */
async function voxceleb(root: string, task: string) {
  const folder = folderOf(root, task, "VoxCeleb1", "voxceleb1");
  const list = ["voxceleb1_test_v2.txt", "veri_test2.txt", "veri_test.txt"]
    .flatMap((name) => [join(folder, name), join(root, name)])
    .find((path) => existsSync(path));
  if (list === undefined) throw new UserError(`${folder}: the task ${task} needs veri_test2.txt there`);
  const parts = await partsOf(folder, "voxceleb1", { task: "verification" });
  needParts(task, folder, parts, "train", "test");
  return { parts, trials: readTrials(list), list };
}

/** SUPERB's speaker verification: x-vectors of VoxCeleb1, additive-margin softmax, cosine scores. */
export const asv: Prepare = async (root, trial) => {
  const { parts, trials, list } = await voxceleb(root, "asv");
  const task = {
    ...{ name: "asv", recipe, columns: { eer: "ASV" as const }, width: trial?.hidden ?? XVECTOR.width, list },
    notes: [
      "there is no validation part: as in SUPERB the best of the saved heads counts, chosen on the trials themselves",
      "silence is not cut out of the recordings",
    ],
    ...{ verification: MARGIN, shortest: 2 },
  };
  return [await verificationTask(task, parts, trials)];
};

/** Speaker verification of Zaiem et al. (2022): x-vectors of VoxCeleb1 trained for ten epochs, compared by PLDA. */
export const asvPlda: Prepare = async (root, trial) => {
  const { parts, trials, list } = await voxceleb(root, "asv-plda");
  const width = trial?.hidden ?? XVECTOR.width;
  const task = {
    ...{
      name: "asv-plda",
      recipe: pldaRecipe(parts.train.length, { epochs: 10, width }),
      columns: {},
      width,
      list,
    },
    notes: pldaNotes,
    ...{ verification: PLDA, shortest: 0 },
  };
  return [await verificationTask(task, parts, trials)];
};

/** SpeechBrain's defaults, which the paper's recipe leaves as they are. */
export const PLDA = { by: "plda", rank: 100, rounds: 10 } as const;
export const pldaNotes = [
  "no batch normalisation between the layers, unlike SpeechBrain's x-vector",
  "the head of the last epoch counts: nothing is chosen on the trials",
];

/** The paper's training of x-vectors: Adam from 1e-3 in a straight line to 1e-4 over so many epochs. */
export function pldaRecipe(
  recordings: number,
  { epochs, width, maxSeconds = 3 }: { epochs: number; width: number; maxSeconds?: number },
): ProbeRecipe {
  const batch = 32;
  return {
    ...common,
    optimizer: { name: "adam", lr: 1e-3, weightDecay: 0 },
    schedule: { name: "linear", warmup: 0, finalScale: 0.1 },
    head: {
      ...headOf(width),
      loss: { name: "softmax" },
      score: "PLDA",
      rank: PLDA.rank,
      rounds: PLDA.rounds,
    },
    ...{ steps: epochs * Math.max(1, Math.ceil(recordings / batch)), batch, sampling: "buckets" },
    ...{ evaluateEvery: Number.MAX_SAFE_INTEGER, maxSamples: 16_000 * maxSeconds },
    source:
      "Zaiem et al. 2022, appendix A; read: SpeechBrain recipes/VoxCeleb/SpeakerRec (batch, seconds, PLDA); gradients clipped as in our other probes",
  };
}

/** The x-vector as a recipe says it. */
export const headOf = (width: number) => ({
  type: "x-vector",
  projection: width,
  layers: xvectorLayers(width, Math.round((XVECTOR.last / XVECTOR.width) * width)).map(
    ({ width: own, context, dilation }) => [own, context, dilation],
  ),
  pooling: "mean and deviation",
  embedding: width,
});

const recipe: ProbeRecipe = {
  ...common,
  optimizer: { name: "adamw", lr: 1e-4, weightDecay: 0.01 },
  head: {
    ...headOf(XVECTOR.width),
    loss: { name: "additive-margin softmax", scale: MARGIN.scale, margin: MARGIN.margin },
    score: "cosine",
  },
  clip: 1000,
  // 10 utterances, gradients of five batches added.
  ...{ steps: 200_000, batch: 50, sampling: "shuffle", evaluateEvery: 10_000, maxSamples: 128_000 },
  best: { metric: "eer", higher: false },
  source:
    "read: s3prl downstream/sv_voxceleb1/configs/amsoftmax.yaml, model.py, expert.py, dataset.py (0.4.18); AdamW's weight decay is PyTorch's default",
};
