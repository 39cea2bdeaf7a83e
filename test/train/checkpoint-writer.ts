// Saves checkpoints as fast as it can until it is killed; checkpoint.test.ts is the killer.
import { appendFileSync } from "node:fs";
import { loadCheckpoint, saveCheckpoint } from "../../src/train/checkpoint.ts";

const [folder, journal] = process.argv.slice(2);
let step = (loadCheckpoint(folder, console.error)?.step ?? 0) + 1;
for (; ; step++) {
  const weights = new Float32Array(20_000).fill(step);
  saveCheckpoint(folder, { step, state: { loss: 1 / step }, buffers: { weights, moments: weights } }, 2);
  // Written after the save has returned: a checkpoint of at least this step must be found.
  appendFileSync(journal, `${step}\n`);
}
