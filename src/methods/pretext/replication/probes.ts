import { ageBand } from "../../../corpus/age-bands.ts";
import { classTask, labelOf, type Parts } from "../../../superb/build.ts";
import { common } from "../../../superb/recipes.ts";
import type { ProbeRecipe, ProbeTask } from "../../../superb/task.ts";
import { PLDA, pldaNotes, pldaRecipe } from "../../../superb/tasks/asv.ts";
import { pairs, phoneTask } from "../../../superb/tasks/miniature.ts";
import { verificationTask } from "../../../superb/tasks/verification.ts";

const ageRecipe: ProbeRecipe = {
  ...common,
  optimizer: { ...common.optimizer, lr: 2e-3 },
  head: { projection: 128, pool: "mean" },
  ...{ steps: 150, batch: 16, sampling: "buckets", evaluateEvery: 25 },
  best: { metric: "accuracy", higher: true },
  source: "voxsmith's own; head as in s3prl",
};

/** Canonical phones of read English, by the head of mini-phonemes. */
export const phonemesOf = (parts: Parts): ProbeTask => phoneTask("pretext-phonemes", parts, 600);

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
      ...{ name: "pretext-age", recipe: ageRecipe, columns: {} },
      notes: ["four age bands of speakers from 6 to 33"],
      ...{ projection: 128, labels: ["age"], answerOf: (u) => ageBand(Number(labelOf(u, "age"))) ?? "other" },
    },
    parts,
  );
