import { parseArgs } from "node:util";
import { padWaves } from "../src/corpus/prefetch.ts";
import { random } from "../src/random.ts";
import type { Value } from "../src/runtime/program.ts";
import { f32, i32, number } from "../src/runtime/program.ts";
import { randomFeeds } from "../src/train/feeds.ts";
import { ctc } from "../src/train/losses/ctc.ts";
import { ctcTask, LABELS_PER_SECOND, type StepPlan, stepMemory, trainedBy } from "../src/train/memory.ts";
import type { Model } from "../src/train/model.ts";
import { Optimiser } from "../src/train/optimiser.ts";
import { compileTraining, gradientName } from "../src/train/program.ts";
import { recomputed } from "../src/train/stepper.ts";
import { ParameterStore } from "../src/train/store.ts";
import { stepSizes, traceTraining } from "../src/train/task.ts";
import { upstreamOf } from "../src/upstreams/index.ts";
import { layoutNamed } from "./layouts.ts";

const USAGE = `node --import tsx bench/memory.ts NAME [--batch 4] [--seconds 5] [--freeze feature_extractor] [--recompute] [--steps 2] [--threads 2] [--json]

Training steps (forward, backward, clipping, Adam) of a released model at its real size with random weights and a CTC head:
the process's peak memory beside what \`voxsmith inspect\` predicts. --freeze "*" trains the head alone, --freeze "" everything.
One model a process, so that the peak is its own.`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    batch: { type: "string", default: "4" },
    seconds: { type: "string", default: "5" },
    freeze: { type: "string", default: "feature_extractor" },
    recompute: { type: "boolean", default: false },
    steps: { type: "string", default: "2" },
    threads: { type: "string", default: "2" },
    json: { type: "boolean", default: false },
  },
});
const [name = ""] = positionals;
const config = layoutNamed(name, USAGE);
const upstream = upstreamOf(config, name);
const model: Model = { config, settings: upstream.settings, upstream, masked: !upstream.padSensitive };
const plan: StepPlan = {
  freeze: values.freeze === "" ? [] : [values.freeze],
  recompute: values.recompute ? "all" : "none",
  batch: Number(values.batch),
  seconds: Number(values.seconds),
  states: 2,
};
const task = ctcTask(model);
const predicted = stepMemory(task, plan);

const trained = trainedBy(task, plan);
const samples = Math.round(plan.seconds * upstream.sampleRate);
const labels = Math.ceil(LABELS_PER_SECOND * plan.seconds);
const threads = Number(values.threads);
const { table, traced } = traceTraining(task, task.objectives);
const program = await compileTraining(table, traced, {
  trained,
  threads,
  largest: stepSizes(task, plan.batch, samples, () => labels),
  recompute: plan.recompute === "none" ? undefined : (region) => recomputed(region.name, "all"),
});
const store = new ParameterStore(table.specs, trained);
store.initialise(1);
const optimiser = new Optimiser({ name: "adam", betas: [0.9, 0.98], eps: 1e-8 }, store, { threads });
const rng = random(1, "audio");
const waves = Array.from({ length: plan.batch }, () =>
  Float32Array.from({ length: samples }, () => 0.1 * rng.normal()),
);
const [objective] = task.objectives;
if (objective.target.kind !== "sequence") throw new Error("the task is CTC");
const rows = waves.map(() => Array.from({ length: labels }, () => 1 + rng.int(30)));
const into: Record<string, Value> = {};
for (const [parameter, value] of Object.entries(store.gradientValues)) into[gradientName(parameter)] = value;
const losses: number[] = [];
let seconds = 0;
for (let step = 1; step <= Number(values.steps); step++) {
  const began = performance.now();
  const padded = padWaves(waves);
  const counts = waves.map(() => upstream.frames(samples) as number);
  const feeds: Record<string, Value> = {
    ...store.values,
    audio: f32([padded.batch, padded.samples], padded.values),
    frames: i32([plan.batch], counts),
    ...ctc.feeds({ ...objective, spec: ctc.schema.parse(objective.spec), target: objective.target }, rows, {
      frames: counts,
      width: Math.max(...counts),
      times: [],
      draw: (row, ...purpose) => random(1, step, ...purpose, row),
    }),
    ...randomFeeds(model, waves, 1, step),
    [`weight.${objective.name}`]: number(1),
  };
  const { loss } = await program.run(feeds, into);
  losses.push((loss.data as Float32Array)[0]);
  const range = { start: 0, end: store.trainedSize };
  const norm = await optimiser.norm([range]);
  await optimiser.step([{ ...range, lr: 1e-5, weightDecay: 0, step }], Math.min(1, 1 / (norm + 1e-6)));
  seconds = (performance.now() - began) / 1000;
}
const peak = process.resourceUsage().maxRSS * 1024;
const mega = (bytes: number) => Math.round(bytes / 1e6);
const row = {
  name,
  ...{ batch: plan.batch, seconds: plan.seconds, freeze: values.freeze, recompute: plan.recompute },
  parameters: store.weights.length,
  measuredMB: mega(peak),
  predictedMB: mega(predicted.total),
  off: predicted.total / peak - 1,
  parts: Object.fromEntries(
    (["weights", "gradients", "states", "activations", "process"] as const).map((part) => [
      part,
      mega(predicted[part]),
    ]),
  ),
  stepSeconds: Math.round(seconds * 10) / 10,
  finite: losses.every(Number.isFinite),
};
console.log(
  values.json
    ? JSON.stringify(row)
    : `${name} | ${row.batch} x ${row.seconds} s, frozen: ${row.freeze || "nothing"}, recompute ${row.recompute} | peak ${row.measuredMB} MB, predicted ${row.predictedMB} MB (${(100 * row.off).toFixed(0)} %) | step ${row.stepSeconds} s | ${row.finite ? "losses finite" : "NOT FINITE"}`,
);
if (!row.finite) process.exitCode = 1;
