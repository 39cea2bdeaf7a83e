import { readers } from "../../corpus/readers/index.ts";
import { readCorpus } from "../../corpus/readers/reader.ts";
import { random } from "../../random.ts";
import { classTask, labelOf, type Parts } from "../build.ts";
import { folderOf, needParts } from "../corpora.ts";
import { common } from "../recipes.ts";
import type { Prepare, ProbeRecipe } from "../task.ts";
import { pooled } from "./sid.ts";

/** SUPERB's emotion recognition: four classes of IEMOCAP, five probes, each tested on one session; their mean counts. */
export const er: Prepare = async (root) => {
  const folder = folderOf(root, "er", "IEMOCAP", "IEMOCAP_full_release", "iemocap");
  const utterances = await readCorpus("iemocap", readers, folder, { classes: "four" });
  const sessions = [...new Set(utterances.map((u) => Number(u.labels?.session)))].sort();
  return sessions.map((session) => {
    const rest = utterances.filter((u) => u.labels?.session !== session);
    const order = random(0, "er", session).shuffle(rest);
    const valid = Math.trunc(0.2 * order.length);
    const parts: Parts = {
      train: order.slice(valid),
      valid: order.slice(0, valid),
      test: utterances.filter((u) => u.labels?.session === session),
    };
    needParts("er", folder, parts, "train", "valid", "test");
    return classTask(
      {
        ...{ name: `er-session${session}`, foldOf: "er", recipe, columns: { accuracy: "ER" } },
        notes: ["a fifth of the other sessions validates, so its speakers are known ones"],
        ...{ projection: 256, labels: ["emotion"], answerOf: labelOf },
      },
      parts,
    );
  });
};

const recipe: ProbeRecipe = {
  ...common,
  head: pooled,
  // 4 utterances, gradients of eight batches added.
  ...{ steps: 30_000, batch: 32, sampling: "shuffle", evaluateEvery: 1000 },
  best: { metric: "accuracy", higher: true },
  source:
    "read: s3prl downstream/emotion/config.yaml, expert.py, dataset.py (0.4.18); the 80/20 draw is voxsmith's own",
};
