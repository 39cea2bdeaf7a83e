import { spawnSync } from "node:child_process";
import { loadavg } from "node:os";
import { applyBits, packBits } from "../src/params/mask.ts";
import { maskedByInputs, maskInput } from "../src/params/mask-inputs.ts";
import { ParameterTable } from "../src/params/params.ts";
import { bitsOf, rankedMagnitude, TopScores, zerosOf } from "../src/params/select.ts";
import { random } from "../src/random.ts";
import { compile } from "../src/runtime/cpu.ts";
import { bool, f32, type Value } from "../src/runtime/program.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { matricesOf } from "../src/train/masks.ts";
import { evaluationGraph } from "../src/train/program.ts";
import { ParameterStore } from "../src/train/store.ts";
import type { BenchOptions } from "./options.ts";
import { baseConfig, traceCtc } from "./ours/model.ts";
import { median, ourWorker } from "./worker-process.ts";

const WARM = 2;
const FFN = 768 * 3072;
const show = (json: boolean, row: object, text: string) => console.log(json ? JSON.stringify(row) : text);
const inOneLine = (row: Readonly<Record<string, unknown>>): string =>
  Object.entries(row)
    .map(([key, value]) => (key === "name" ? value : `${key} ${value}`))
    .join(" | ");
const round1 = (x: number) => Math.round(x * 10) / 10;

function warnOfLoad(): number {
  const load = loadavg()[0];
  if (load > 0.5)
    console.error(
      `the load average is ${load.toFixed(1)}: something else is running, only ratios mean something`,
    );
  return load;
}

/** A full fine-tuning step and a masked one in turn, each in a warm process of its own. */
export async function benchMaskedStep({ json, peer, rounds, threads, only }: BenchOptions): Promise<void> {
  const load = warnOfLoad();
  const shared = {
    task: "train-step",
    mode: "fast",
    train: "frozen-extractor",
    batch: 4,
    seconds: 5,
    threads,
  };
  for (const dropout of ["zero", "default"]) {
    const name = `masked-step: FFN masks at 10 %, ${dropout === "zero" ? "no" : "default"} dropout`;
    if (!name.includes(only)) continue;
    const [full, masked] = [ourWorker(), ourWorker()];
    await Promise.all([full.ready, masked.ready]);
    await full.ask({ cmd: "setup", ...shared, dropout });
    await masked.ask({ cmd: "setup", ...shared, dropout, masked: true });
    const times: { full: number; masked: number; mask: number }[] = [];
    for (let turn = 0; turn < WARM + rounds; turn++) {
      const a = await full.ask({ cmd: "step" });
      const b = await masked.ask({ cmd: "step" });
      if (turn >= WARM)
        times.push({ full: a.ms as number, masked: b.ms as number, mask: b.maskMs as number });
    }
    const of = (key: "full" | "masked" | "mask") => Math.round(median(times.map((time) => time[key])));
    const pairs = times.map((time) => Number((time.masked / time.full).toFixed(3)));
    const peaks = [];
    for (const worker of [full, masked]) {
      peaks.push(Math.round((await worker.ask({ cmd: "peak" })).peakMB as number));
      await worker.end();
    }
    const row = {
      name,
      ...{ fullMs: of("full"), maskedMs: of("masked"), ofWhichMasksMs: of("mask") },
      ...{ ratio: median(pairs), pairs, fullPeakMB: peaks[0], maskedPeakMB: peaks[1], load },
    };
    show(
      json,
      row,
      `${row.name} | full ${row.fullMs} ms, peak ${peaks[0]} MB | masked ${row.maskedMs} ms (masks ${row.ofWhichMasksMs}), peak ${peaks[1]} MB | ratio ${row.ratio} (pairs ${pairs.join(", ")})`,
    );
  }
  if ("thresholds".includes(only)) benchThresholds(json, rounds, threads, peer);
}

/** Thresholds of 24 matrices of 768 x 3072: ours while scores move as Adam moves them, ours from nothing, PyTorch's. */
function benchThresholds(json: boolean, rounds: number, threads: number, python?: string): void {
  const rng = random("thresholds");
  const scores = Float32Array.from({ length: FFN }, () => (2 * rng.next() - 1) / Math.sqrt(768));
  const weights = Float32Array.from({ length: FFN }, () => rng.normal());
  const effective = new Float32Array(FFN);
  const array = { scores: bitsOf(scores), weights: bitsOf(weights), effective: bitsOf(effective) };
  const zeros = zerosOf(0.1, FFN);
  const top = new TopScores([array], zeros);
  top.apply();
  const warm: number[] = [];
  const cold: number[] = [];
  for (let turn = 0; turn < WARM + rounds * 4; turn++) {
    for (let i = 0; i < FFN; i++) scores[i] += 5e-5 * (rng.next() < 0.5 ? -1 : 1);
    let began = performance.now();
    top.apply();
    if (turn >= WARM) warm.push(performance.now() - began);
    began = performance.now();
    rankedMagnitude([array.scores], zeros - 1);
    if (turn >= WARM) cold.push(performance.now() - began);
  }
  const row: Record<string, unknown> = {
    name: "thresholds: one matrix of 768 x 3072",
    warmWithMaskMs: round1(median(warm)),
    coldMs: round1(median(cold)),
    searches: top.searches,
  };
  if (python !== undefined) {
    const program = new URL("./peer/thresholds.py", import.meta.url).pathname;
    const peer = spawnSync(python, [program, String(threads), String(rounds)], { encoding: "utf8" });
    if (peer.status !== 0) throw new Error(`${python} ${program}: ${peer.stderr}`);
    Object.assign(row, JSON.parse(peer.stdout));
  }
  show(json, row, inOneLine(row));
}

/** A forward pass of wav2vec2-base over 1 s with dense weights and with masks as inputs, and what a change of task costs. */
export async function benchTaskSwitch({ json, rounds, threads }: BenchOptions): Promise<void> {
  const load = warnOfLoad();
  const config = baseConfig("zero");
  const dense = traceCtc(config, false);
  const store = new ParameterStore(dense.table.specs, () => false);
  store.initialise(1);
  const matrices = matricesOf(dense.table.specs.keys(), { modules: "ffn", layers: "all" });
  const rng = random("tasks");
  const tasks = [0, 1].map(() =>
    matrices.map(({ name }) => {
      const { length } = store.array(name);
      const flags = Uint8Array.from({ length }, () => (rng.next() < 0.1 ? 0 : 1));
      return { name, flags, bits: packBits((i) => flags[i] === 1, length) };
    }),
  );
  const effective = new Map(matrices.map(({ name }) => [name, new Float32Array(store.array(name).length)]));
  const fromBits: number[] = [];
  for (let turn = 0; turn < WARM + 2 * rounds; turn++) {
    const began = performance.now();
    for (const { name, bits } of tasks[turn % 2]) applyBits(bits, store.array(name), effective.get(name)!);
    if (turn >= WARM) fromBits.push(performance.now() - began);
  }
  const masked = new Set(matrices.map(({ name }) => name));
  const inputs: Tensor[] = [];
  const transform = maskedByInputs(
    (name) => masked.has(name),
    (input) => inputs.push(input),
  );
  const routed = traceCtc(config, false, new ParameterTable(transform));
  const audio = f32(
    [1, 16_000],
    Float32Array.from({ length: 16_000 }, () => rng.normal()),
  );
  const programs = {
    dense: await compile(evaluationGraph(dense.table, { logits: dense.logits }, [dense.inputs[0]]), {
      threads,
    }),
    inputs: await compile(
      evaluationGraph(routed.table, { logits: routed.logits }, [routed.inputs[0], ...inputs]),
      { threads },
    ),
  };
  const shape = (name: string) => store.specs.get(name)!.shape;
  const maskFeeds = tasks.map((task) =>
    Object.fromEntries(task.map(({ name, flags }) => [maskInput(name), bool(shape(name), flags)])),
  );
  const times = { dense: [] as number[], inputs: [] as number[], changed: [] as number[] };
  for (let turn = 0; turn < WARM + rounds; turn++) {
    const began = performance.now();
    await programs.dense.run({ ...store.values, audio });
    const densePass = performance.now() - began;
    // The first pass with other masks, and one more with the same: what the change costs is their difference.
    const pass = async () => {
      const start = performance.now();
      const feeds: Record<string, Value> = { ...store.values, ...maskFeeds[turn % 2], audio };
      await programs.inputs.run(feeds);
      return performance.now() - start;
    };
    const [changed, same] = [await pass(), await pass()];
    if (turn < WARM) continue;
    times.dense.push(densePass);
    times.changed.push(changed);
    times.inputs.push(same);
  }
  for (const program of Object.values(programs)) await program.dispose();
  const row = {
    name: "task-switch: wav2vec2-base, 24 FFN matrices",
    fromPackedBitsMs: round1(median(fromBits)),
    asGraphInputsMs: round1(median(times.changed.map((changed, i) => changed - times.inputs[i]))),
    denseForwardMs: round1(median(times.dense)),
    maskInputsForwardMs: round1(median(times.inputs)),
    packedMB: round1(tasks[0].reduce((sum, { bits }) => sum + bits.length, 0) / 1e6),
    unpackedMB: round1(tasks[0].reduce((sum, { flags }) => sum + flags.length, 0) / 1e6),
    load,
  };
  show(json, row, inOneLine(row));
}
