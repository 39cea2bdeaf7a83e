import { ageBand } from "../../../corpus/age-bands.ts";
import { classTask, labelOf, type Parts, sequenceTask } from "../../../superb/build.ts";
import { common } from "../../../superb/recipes.ts";
import type { ProbeRecipe, ProbeTask } from "../../../superb/task.ts";
import { PLDA, pldaNotes, pldaRecipe } from "../../../superb/tasks/asv.ts";
import { pairs } from "../../../superb/tasks/miniature.ts";
import { verificationTask } from "../../../superb/tasks/verification.ts";

const recipe = (steps: number, batch: number, lr: number, metric: string, higher: boolean): ProbeRecipe => ({
  ...common,
  optimizer: { ...common.optimizer, lr },
  head: { projection: 128, pool: higher ? "mean" : "none" },
  ...{ steps, batch, sampling: "buckets", evaluateEvery: Math.ceil(steps / 6), best: { metric, higher } },
  source: "voxsmith's own; heads as in s3prl",
});

/** Canonical phones of read English. */
export const phonemesOf = (parts: Parts): ProbeTask =>
  sequenceTask(
    {
      ...{ name: "pretext-phonemes", recipe: recipe(200, 16, 1e-2, "per", false), columns: {} },
      notes: ["phones are the canonical ones of the words, not what learners of English said"],
      ...{ head: { projection: 128 }, vocabulary: { unit: "phones", dropStress: true } },
      ...{ rates: { per: "phones" }, headline: "per" },
    },
    parts,
  );

/** Whether two recordings are of one speaker: all pairs of twelve new speakers' recordings. */
export function verificationOf(parts: Parts): Promise<ProbeTask> {
  const width = 64;
  // Ten epochs of VoxCeleb1 are 46,000 updates; here they would be seventy.
  const given = pldaRecipe(parts.train.length, { epochs: 20, width });
  return verificationTask(
    {
      ...{ name: "pretext-verification", recipe: given, columns: {}, width, verification: PLDA, shortest: 0 },
      ...{ notes: pldaNotes, list: "speechocean762" },
    },
    parts,
    pairs(parts.test),
  );
}

/** Which of four age bands a speaker is in. */
export const ageOf = (parts: Parts): ProbeTask =>
  classTask(
    {
      ...{ name: "pretext-age", recipe: recipe(150, 16, 2e-3, "accuracy", true), columns: {} },
      notes: ["four age bands of speakers from 6 to 33"],
      ...{ projection: 128, labels: ["age"], answerOf: (u) => ageBand(Number(labelOf(u, "age"))) ?? "other" },
    },
    parts,
  );
