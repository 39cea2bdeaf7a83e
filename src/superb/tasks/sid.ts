import { classTask, labelOf } from "../build.ts";
import { folderOf, needParts, partsOf } from "../corpora.ts";
import { common } from "../recipes.ts";
import type { Prepare, ProbeRecipe } from "../task.ts";

/** What the classification tasks of SUPERB have in common: projection, mean over frames, linear. */
export const pooled = { type: "mean pooling", projection: 256, loss: "cross-entropy" } as const;

/** SUPERB's speaker identification: which of VoxCeleb1's 1251 speakers. */
export const sid: Prepare = async (root) => {
  const folder = folderOf(root, "sid", "VoxCeleb1", "voxceleb1");
  const parts = await partsOf(folder, "voxceleb1", { task: "identification" });
  needParts("sid", folder, parts, "train", "valid", "test");
  const notes = [
    "training recordings are cut at one place each, not at a new one each time, so that they can be cached",
  ];
  return [
    classTask(
      {
        ...{ name: "sid", recipe, notes, columns: { accuracy: "SID" } },
        ...{ projection: 256, labels: ["speaker"], answerOf: labelOf },
      },
      parts,
    ),
  ];
};

const recipe: ProbeRecipe = {
  ...common,
  head: pooled,
  // 8 utterances, gradients of four batches added.
  ...{ steps: 200_000, batch: 32, sampling: "shuffle", evaluateEvery: 5000, maxSamples: 128_000 },
  best: { metric: "accuracy", higher: true },
  source: "read: s3prl downstream/voxceleb1/config.yaml, dataset.py, expert.py, downstream/model.py (0.4.18)",
};
