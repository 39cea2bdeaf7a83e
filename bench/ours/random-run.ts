import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { exportModel } from "../../src/train/export.ts";
import { lossOf } from "../../src/train/losses/index.ts";
import { modelOf } from "../../src/train/model.ts";
import { parametersOf } from "../../src/train/prepare.ts";
import { parseRecipe, printRecipe } from "../../src/train/recipe.ts";
import { namePaths, type Task, type TaskObjective } from "../../src/train/task.ts";

/** A run's folder with random weights of wav2vec2-base's size, a severity head and one for 40 phones. */
export function randomRun(folder: string): void {
  const phones = Array.from({ length: 40 }, (_, i) => `p${i}`);
  const recipe = parseRecipe(
    JSON.stringify({
      name: "bench",
      upstream: { config: { model_type: "wav2vec2" } },
      corpus: { manifest: "none", classes: { severity: ["0", "1", "2", "3", "4"] }, symbols: phones },
      objectives: {
        severity: { loss: "cross-entropy", target: "labels.severity" },
        phonemes: { loss: "ctc", target: "phones" },
      },
    }),
    "bench",
  );
  const entries = Object.entries(recipe.objectives);
  const paths = namePaths(entries);
  const source = { utterances: [], corpus: recipe.corpus, config: modelOf(recipe).config };
  const objectives = entries.map(
    ([name, spec]): TaskObjective => ({
      name,
      spec,
      target: lossOf(spec).target(spec, source),
      path: paths.get(name)!,
    }),
  );
  const task: Task = { model: modelOf(recipe), layers: "last", objectives };
  const { store } = parametersOf(recipe, task, false);
  mkdirSync(folder, { recursive: true });
  exportModel(folder, task, store, { spec: recipe.corpus });
  writeFileSync(join(folder, "recipe.yaml"), printRecipe(recipe));
}
