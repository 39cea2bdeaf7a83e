import { existsSync } from "node:fs";
import { join } from "node:path";
import { classTask, labelOf } from "../build.ts";
import { folderOf, needParts, partsOf } from "../corpora.ts";
import { common } from "../recipes.ts";
import type { Prepare, ProbeRecipe } from "../task.ts";
import { pooled } from "./sid.ts";

const TEST = ["speech_commands_test_set_v0.01", "speech_commands_test", "speech_commands/test"];

/** SUPERB's keyword spotting: ten words, unknown, silence; every class equally often in training. */
export const ks: Prepare = async (root) => {
  const names = ["speech_commands_v0.01", "speech_commands/train", "speech_commands", "SpeechCommands"];
  const folder = folderOf(root, "ks", ...names);
  const testSet = TEST.map((name) => join(root, name)).find(existsSync);
  const parts = await partsOf(folder, "speech-commands", { classes: "12", testSet });
  needParts("ks", folder, parts, "train", "valid", "test");
  const notes =
    testSet === undefined
      ? [`the official test set (${TEST[0]}) is not there: tested on testing_list.txt, which has no silence`]
      : [];
  return [
    classTask(
      {
        ...{ name: "ks", recipe, notes, columns: { accuracy: "KS" } },
        ...{ projection: 256, labels: ["keyword"], answerOf: labelOf },
      },
      parts,
    ),
  ];
};

const recipe: ProbeRecipe = {
  ...common,
  head: pooled,
  ...{ steps: 200_000, batch: 32, sampling: "balanced", evaluateEvery: 5000 },
  best: { metric: "accuracy", higher: true },
  source:
    "read: s3prl downstream/speech_commands/config.yaml, dataset.py, expert.py (0.4.18); silence is whole seconds of the noise recordings, " +
    "validation is not resampled, and sox's gain of -3 dB is left out",
};
