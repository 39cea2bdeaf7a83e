/* node --import tsx bench/ours/head.ts TASK SECONDS UPDATES THREADS: one head of SUPERB at its official size, for bench/heads.ts. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { f16, i32 } from "../../src/runtime/program.ts";
import { entryOf } from "../../src/superb/catalogue.ts";
import type { Batch } from "../../src/superb/head.ts";
import { BATCH_FLOATS } from "../../src/superb/hearing.ts";
import type { LearnedTask } from "../../src/superb/task.ts";
import { HeadTrainer } from "../../src/superb/trainer.ts";
import { floatToHalf } from "../../src/weights/half.ts";
import * as trees from "../../test/superb/trees.ts";
import type { HeadRow } from "../heads.ts";
import { median } from "../worker-process.ts";

const [name, seconds, updates, threads] = process.argv.slice(2);
const root = mkdtempSync(join(tmpdir(), "bench-heads-"));
const corpora: Readonly<Record<string, (root: string) => void>> = {
  ...{ pr: trees.librispeech, asr: trees.librispeech, sid: trees.voxceleb, asv: trees.voxceleb },
  ...{ ks: trees.speechCommands, er: trees.iemocap, ic: trees.fluentSpeechCommands, sf: trees.snips },
  ...{ sd: trees.libri2mix, st: trees.covost, "asr-zh": trees.commonVoiceChinese },
};
corpora[name](root);
const [task] = (await entryOf(name).prepare(root)) as LearnedTask[];
rmSync(root, { recursive: true });

const [layers, dim, hop, sampleRate] = [13, 768, 320, 16_000];
const frames = Math.floor((Number(seconds) * sampleRate) / hop);
const upstream = {
  ...{ name: "base", hash: "0".repeat(32), layers, dim, sampleRate, hop, normalize: false },
  frames: (samples: number) => Math.floor(samples / hop),
  hear: () => Promise.reject(new Error("features are made up")),
  dispose: async () => {},
};

const { batch } = task.recipe;
// As much at once as a probe takes.
const part = Math.max(1, Math.min(batch, Math.floor(BATCH_FLOATS / (layers * frames * dim))));
const values = Uint16Array.from({ length: layers * part * frames * dim }, (_, i) =>
  floatToHalf(Math.sin(i * 0.37 + (i % 911))),
);
const batchOf = (first: number, count: number, of: readonly number[]): Batch => ({
  positions: Array.from({ length: count }, (_, i) => (first + i) % of.length),
  frames: new Array<number>(count).fill(frames),
  inputs: {
    features: f16([layers, count, frames, dim], values.subarray(0, layers * count * frames * dim)),
    frames: i32([count], new Array<number>(count).fill(frames)),
  },
});
const batches: Batch[] = [];
for (let at = 0; at < batch; at += part)
  batches.push(batchOf(at, Math.min(part, batch - at), task.parts.train));

const began = performance.now();
const trainer = new HeadTrainer(task, upstream, 1, Number(threads));
const times: number[] = [];
let firstSeconds = 0;
for (let update = 0; update <= Number(updates); update++) {
  const start = performance.now();
  await trainer.update(batches);
  if (update === 0) firstSeconds = (performance.now() - began) / 1000;
  else times.push(performance.now() - start);
}
const loss = trainer.takeLoss();
if (!Number.isFinite(loss)) throw new Error(`${name}: the loss is ${loss}`);
const one = batchOf(0, 1, task.parts.test);
const readings: number[] = [];
for (let i = 0; i < 2; i++) {
  const start = performance.now();
  await trainer.predict(one, [task.parts.test[0]], new Map());
  readings.push(performance.now() - start);
}
const row: HeadRow = {
  ...{ task: name, batch, seconds: Number(seconds), parameters: trainer.store.trainedSize },
  updateMs: Math.round(median(times)),
  firstSeconds: Number(firstSeconds.toFixed(1)),
  readMs: Math.round(readings[1]),
  peakMB: Math.round(process.resourceUsage().maxRSS / 1024),
};
await trainer.dispose();
console.log(JSON.stringify(row));
