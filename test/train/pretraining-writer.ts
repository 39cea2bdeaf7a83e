// Pre-training in a process of its own, to be killed: wav2vec 2.0 with a worker, NewBob, batches in two parts.
import { parseRecipe } from "../../src/train/recipe.ts";
import { train } from "../../src/train/trainer.ts";
import { TINY_CONFIG, tinyRecipe } from "./tiny-corpus.ts";

export const recipe = parseRecipe(
  tinyRecipe({
    upstream: {
      config: {
        ...TINY_CONFIG,
        ...{ mask_time_prob: 0.6, layerdrop: 0, codevector_dim: 8, proj_codevector_dim: 8, num_negatives: 5 },
        ...{ num_codevector_groups: 2, num_codevectors_per_group: 6 },
      },
    },
    objectives: {
      contrastive: { loss: "contrastive", temperature: { decay: 0.99 } },
      diversity: { loss: "code-diversity", weight: 0.1 },
      pitch: { loss: "worker", signal: "F0final_sma", weight: 0.5, layer: 0 },
    },
    optimizer: { name: "adadelta", lr: 1 },
    schedule: { name: "newbob", threshold: 0.9 },
    batch: { size: 4, accumulate: 2 },
    epochs: 12,
    checkpoint: { everySteps: 4, everyMinutes: 0 },
  }),
  "tiny",
);

const [, script, out, data] = process.argv;
if (import.meta.filename === script) await train(recipe, { out, data, skipBad: false, log: () => {} });
