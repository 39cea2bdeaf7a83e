// A run without a model: everything that makes a run resumable, around an update that only adds random numbers.
import { setTimeout as sleep } from "node:timers/promises";
import { random } from "../../src/random.ts";
import { loadCheckpoint, saveCheckpoint } from "../../src/train/checkpoint.ts";
import { openLog } from "../../src/train/log.ts";
import { parseRecipe } from "../../src/train/recipe.ts";
import { openRun } from "../../src/train/run-folder.ts";

const recipe = parseRecipe(
  "{name: r, steps: 60, upstream: {model: m}, corpus: {manifest: m}, objectives: {p: {loss: ctc, target: phones}}}",
  "r.yaml",
);
const run = openRun(process.argv[2], recipe);
const weights = new Float32Array(5000);
const loaded = loadCheckpoint(run.file("checkpoints"), console.error, { weights });
const log = openLog(run.file("log.jsonl"), loaded?.step);
for (let step = (loaded?.step ?? 0) + 1; step <= recipe.steps!; step++) {
  // Slow enough to be killed in the middle on any machine.
  await sleep(3);
  const noise = random(recipe.seed, "update", step);
  for (let i = 0; i < weights.length; i++) weights[i] += noise.normal();
  log.write({ step, event: "train", loss: Math.hypot(...weights.subarray(0, 9)) });
  if (step % 4 === 0) {
    log.sync();
    saveCheckpoint(run.file("checkpoints"), { step, state: null, buffers: { weights } }, 2);
  }
}
log.close();
run.update({ status: "finished" });
run.release();
