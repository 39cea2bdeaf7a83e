import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseRecipe } from "../../src/train/recipe.ts";
import { train } from "../../src/train/trainer.ts";
import { TINY_CONFIG, tinyCorpus, tinyRecipe } from "../../test/train/tiny-corpus.ts";

// node --import tsx scripts/reference/tiny-runs.ts OUT: trains a tiny run of each family that transformers has, with either
// head, into OUT/FAMILY-HEAD. checkpoints-load.py then says what transformers makes of those folders; its transcript is
// test/fixtures/weights/runs-transformers.txt.

const [out] = process.argv.slice(2);
if (out === undefined) throw new Error("name a folder");
mkdirSync(out, { recursive: true });
const corpus = tinyCorpus(2);
const { feat_extract_norm: _, do_stable_layer_norm: __, ...plain } = TINY_CONFIG as Record<string, unknown>;
const families: Record<string, Record<string, unknown>> = {
  wav2vec2: TINY_CONFIG,
  hubert: TINY_CONFIG,
  wavlm: { ...TINY_CONFIG, num_buckets: 32, max_bucket_distance: 80 },
  "data2vec-audio": { ...plain, num_conv_pos_embeddings: 2, conv_pos_kernel_size: 5 },
};
const heads = {
  ctc: { letters: { loss: "ctc", target: "characters" } },
  classifier: { word: { loss: "cross-entropy", target: "labels.word" } },
};
for (const [model_type, config] of Object.entries(families))
  for (const [head, objectives] of Object.entries(heads)) {
    const changes = {
      upstream: { config: { ...config, model_type } },
      objectives,
      epochs: undefined,
      steps: 4,
    };
    const recipe = parseRecipe(tinyRecipe(changes), "tiny.yaml");
    const folder = join(out, `${model_type}-${head}`);
    await train(recipe, { data: corpus.folder, out: folder, skipBad: false, overwrite: true, log: () => {} });
  }
rmSync(corpus.folder, { recursive: true });
