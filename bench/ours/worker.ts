import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { random } from "../../src/random.ts";
import { compile } from "../../src/runtime/cpu.ts";
import { bool, f32, i32, type Value } from "../../src/runtime/program.ts";
import { evaluationGraph } from "../../src/train/program.ts";
import { ParameterStore } from "../../src/train/store.ts";
import { extractorFrames } from "../../src/upstreams/index.ts";
import { baseConfig, traceCtc } from "./model.ts";
import { buildTraining } from "./training.ts";

// Our side of the comparison with bench/peer/*.py: the same commands, one JSON object a line.

interface Setup {
  task: "train-step" | "infer";
  mode: "fast" | "small";
  dropout: "zero" | "default";
  train: "frozen-extractor" | "all";
  batch: number;
  seconds: number;
  threads: number;
  profilePrefix?: string;
}

let step: () => Promise<number> = async () => {
  throw new Error("no set-up yet");
};
let finish: () => Promise<void> = async () => {};
let maskMs: () => number = () => 0;

async function setup(options: Setup): Promise<object> {
  const start = performance.now();
  const built = options.task === "infer" ? await inference(options) : await training(options);
  return { setup: true, buildMs: performance.now() - start, ...built };
}

async function inference({ batch, seconds, threads, profilePrefix }: Setup): Promise<object> {
  const config = baseConfig("zero");
  const { table, logits, inputs } = traceCtc(config, false);
  const audio = inputs[0];
  const began = performance.now();
  const program = await compile(evaluationGraph(table, { logits }, [audio]), { threads, profilePrefix });
  const compileMs = performance.now() - began;
  const store = new ParameterStore(table.specs, () => false);
  store.initialise(1);
  const feeds = { ...store.values, audio: noise(batch, seconds) };
  step = async () => {
    const { logits: out } = await program.run(feeds);
    return (out.data as Float32Array)[0];
  };
  if (profilePrefix) finish = async () => program.endProfiling();
  return { compileMs };
}

async function training(o: Setup): Promise<object> {
  const config = baseConfig(o.dropout);
  const built = await buildTraining(config, o);
  const frames = extractorFrames(o.seconds * 16_000, config) as number;
  const labels = 12 * o.seconds;
  const rng = random(1, "labels");
  const fixed: Record<string, Value> = {
    audio: noise(o.batch, o.seconds),
    labels: i32(
      [o.batch, labels],
      Array.from({ length: o.batch * labels }, () => 1 + rng.int(31)),
    ),
    targets: i32([o.batch], new Int32Array(o.batch).fill(labels)),
    frames: i32([o.batch], new Int32Array(o.batch).fill(frames)),
  };
  let count = 0;
  step = () =>
    built.step({ ...fixed, ...randomFeeds(built.inputs, o.batch, frames, ++count, config.layerdrop) });
  maskMs = built.maskMs;
  if (o.profilePrefix) finish = built.endProfiling;
  return {
    trained: built.store.trainedSize,
    parameters: built.store.weights.length,
    compileMs: built.compileMs,
  };
}

/** What changes from step to step where the model is random: the seed, hidden frames, dropped layers. */
function randomFeeds(
  names: readonly string[],
  batch: number,
  frames: number,
  count: number,
  layerdrop: number,
): Record<string, Value> {
  const rng = random(count, "step");
  const out: Record<string, Value> = {};
  for (const name of names) {
    if (name === "seed") out[name] = i32([], [count]);
    if (name === "hideFrames") {
      const data = new Uint8Array(batch * frames);
      for (let b = 0; b < batch; b++)
        for (let span = 0; span < Math.max(2, (0.05 * frames) / 10); span++) {
          const start = b * frames + rng.int(frames - 10);
          data.fill(1, start, start + 10);
        }
      out[name] = bool([batch, frames], data);
    }
    if (name.startsWith("keep.")) {
      const kept = rng.next() < layerdrop ? 0 : batch;
      out[name] = bool([kept], new Uint8Array(kept));
    }
  }
  return out;
}

function noise(batch: number, seconds: number): Value {
  const rng = random(1, "audio");
  return f32(
    [batch, seconds * 16_000],
    Float32Array.from({ length: batch * seconds * 16_000 }, () => rng.normal()),
  );
}

const statusMB = (field: string): number => {
  const line = readFileSync("/proc/self/status", "utf8")
    .split("\n")
    .find((text) => text.startsWith(`${field}:`));
  return Number(line?.split(/\s+/)[1]) / 1024;
};

console.log(JSON.stringify({ ready: true, node: process.version }));
for await (const line of createInterface({ input: process.stdin })) {
  const { cmd, ...rest } = JSON.parse(line);
  if (cmd === "exit") break;
  const start = performance.now();
  if (cmd === "setup") console.log(JSON.stringify(await setup(rest)));
  else if (cmd === "peak")
    console.log(JSON.stringify({ peakMB: statusMB("VmHWM"), nowMB: statusMB("VmRSS") }));
  else {
    const loss = await step();
    console.log(JSON.stringify({ ms: performance.now() - start, maskMs: maskMs(), loss }));
  }
}
await finish();
process.exit(0);
