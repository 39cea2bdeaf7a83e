import { classTask, labelOf } from "../build.ts";
import { folderOf, needParts, partsOf } from "../corpora.ts";
import { common } from "../recipes.ts";
import type { Prepare, ProbeRecipe } from "../task.ts";
import { pooled } from "./sid.ts";

/** SUPERB's intent classification: action, object and location of a command, which must all be right. */
export const ic: Prepare = async (root) => {
  const folder = folderOf(
    root,
    "ic",
    "fluent_speech_commands_dataset",
    "fluent_speech_commands",
    "FluentSpeechCommands",
  );
  const parts = await partsOf(folder, "fluent-speech-commands");
  needParts("ic", folder, parts, "train", "valid", "test");
  return [
    classTask(
      {
        ...{ name: "ic", recipe, notes: [], columns: { accuracy: "IC" } },
        ...{ projection: 256, labels: ["action", "object", "location"], answerOf: labelOf },
      },
      parts,
    ),
  ];
};

const recipe: ProbeRecipe = {
  ...common,
  head: { ...pooled, questions: 3 },
  ...{ steps: 200_000, batch: 32, sampling: "shuffle", evaluateEvery: 5000 },
  best: { metric: "accuracy", higher: true },
  source: "read: s3prl downstream/fluent_commands/config.yaml, dataset.py, expert.py (0.4.18)",
};
