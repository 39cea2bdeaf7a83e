import { join } from "node:path";
import { UserError } from "../errors.ts";
import { linear } from "../nn/layers.ts";
import { ctc } from "../nn/losses.ts";
import * as ops from "../ops/index.ts";
import { normalInit, ParameterTable } from "../params/params.ts";
import { f32, i32, type Program, type Value } from "../runtime/program.ts";
import { symbol } from "../tensor/dims.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type Upstream, upstreamOf } from "../upstreams/index.ts";
import { loadStrict, openModelFolder } from "../weights/model-folder.ts";
import { openSafetensors } from "../weights/safetensors.ts";
import { readJsonObject } from "../weights/shards.ts";
import type { TensorFile } from "../weights/tensor-file.ts";
import { Optimiser } from "./optimiser.ts";
import { compileTraining, gradientName } from "./program.ts";
import { ParameterStore } from "./store.ts";

export interface ParityReport {
  ok: boolean;
  model: string;
  errors: Record<"logits" | "hidden" | "loss" | "gradient" | "trajectory", number>;
  worst: { kind: string; name: string; error: number };
}

/** Largest relative error allowed of each kind; a trajectory adds up ten steps of rounding. */
export const PARITY_BARS = {
  logits: 1e-4,
  hidden: 1e-4,
  loss: 1e-4,
  gradient: 1e-4,
  trajectory: 1e-3,
} as const;

const STEPS_KEY = "trajectory.adam_1e-3";

/** Runs a reference folder (a small model, its input, and what PyTorch made of it) and compares everything. */
export async function parity(folder: string, options: { threads?: number } = {}): Promise<ParityReport> {
  const { config: json, weights } = openModelFolder(folder);
  const upstream = upstreamOf(json, join(folder, "config.json"));
  const config = upstream.settings;
  const input = openSafetensors(join(folder, "input.safetensors"));
  const expected = openSafetensors(join(folder, "expected.safetensors"));
  const meta = openMeta(folder);

  const table = new ParameterTable();
  const batch = symbol("batch");
  const audio = ops.input("audio", [batch, symbol("samples")]);
  const labels = ops.input("labels", [batch, symbol("labels")], "i32");
  const targets = ops.input("targets", [batch], "i32");
  const frames = ops.input("frames", [batch], "i32");
  const { hidden, last } = upstream.forward(
    { audio, frames: meta.masked ? frames : undefined },
    table.at(upstream.prefix),
  );
  const logits = linear(last, table.at("lm_head"), config.vocab_size, normalInit(config.initializer_range));
  const loss = ctc(logits, labels, frames, targets, {
    blank: config.pad_token_id ?? 0,
    zeroInfinity: config.ctc_zero_infinity,
    reduction: config.ctc_loss_reduction,
  });

  const store = new ParameterStore(table.specs, () => true);
  const wanted = new Map([...table.specs].map(([name, { shape }]) => [name, shape]));
  const loaded = loadStrict(weights, wanted);
  for (const name of wanted.keys()) loaded.readF32(name, store.array(name));
  loaded.close();

  const outputs: Record<string, Tensor> = { logits };
  for (const [i, state] of hidden.entries()) outputs[`hidden.${i}`] = state;
  const program = await compileTraining(
    table,
    { loss, outputs, inputs: [audio, labels, targets, frames] },
    { trained: () => true, threads: options.threads },
  );
  const feeds = { ...store.values, ...batchOf(input, upstream, meta.masked) };
  const into: Record<string, Value> = {};
  for (const [name, value] of Object.entries(store.gradientValues)) into[gradientName(name)] = value;

  const results = await program.run(feeds, into);
  if (meta.alone) clearPadding(results, feeds.frames.data as Int32Array);
  const report = compare(results, expected, [...wanted.keys()]);
  await compareTrajectory(report, program, feeds, into, store, expected);
  await program.dispose();
  input.close();
  expected.close();
  const kinds = Object.keys(PARITY_BARS) as (keyof typeof PARITY_BARS)[];
  report.ok = kinds.every((kind) => report.errors[kind] <= PARITY_BARS[kind]);
  report.model = folder;
  return report;
}

/** What the reference says of itself: whether it was given a mask, and whether it heard each utterance alone. */
function openMeta(folder: string): { masked: boolean; alone: boolean } {
  const meta = readJsonObject(join(folder, "meta.json"));
  const flag = (key: string, value: unknown) => {
    if (typeof value === "boolean") return value;
    throw new UserError(`${join(folder, "meta.json")}: "${key}" must be true or false`);
  };
  return {
    masked: flag("uses_attention_mask", meta.uses_attention_mask),
    alone: flag("heard_alone", meta.heard_alone ?? false),
  };
}

/** Utterances that were heard alone have zeros for padding: ours get the same. */
function clearPadding(results: Record<string, Value>, frames: Int32Array): void {
  for (const [name, { shape, data }] of Object.entries(results)) {
    if (name !== "logits" && !name.startsWith("hidden.")) continue;
    const [, rows, dim] = shape;
    for (const [b, count] of frames.entries())
      (data as Float32Array).fill(0, (b * rows + count) * dim, (b + 1) * rows * dim);
  }
}

/** The reference's batch as the graph wants it: lengths in frames, labels without their -100 padding. */
function batchOf(input: TensorFile, upstream: Upstream, masked: boolean): Record<string, Value> {
  const audio = input.infos.get("audio");
  const labels = input.infos.get("labels");
  if (audio?.shape.length !== 2 || labels?.shape.length !== 2)
    throw new UserError(`${input.path}: wants "audio" [batch, samples] and "labels" [batch, labels]`);
  const [batch, samples] = audio.shape;
  const width = labels.shape[1];
  const numbers = (name: string) => Int32Array.from(input.readNumbers(name).data as Int32Array, Number);
  const symbols = numbers("labels");
  const targets = Int32Array.from(
    { length: batch },
    (_, b) => symbols.subarray(b * width, (b + 1) * width).filter((s) => s >= 0).length,
  );
  // transformers takes every frame as valid where it is not given a mask.
  const lengths = masked ? numbers("lengths") : new Int32Array(batch).fill(samples);
  return {
    audio: f32([batch, samples], input.readF32("audio")),
    labels: i32(
      [batch, width],
      symbols.map((s) => Math.max(s, 0)),
    ),
    targets: i32([batch], targets),
    frames: i32(
      [batch],
      lengths.map((n) => upstream.frames(n) as number),
    ),
  };
}

const norm = (x: ArrayLike<number>): number =>
  Math.sqrt(
    Array.prototype.reduce.call(
      x,
      (sum: unknown, v: unknown) => (sum as number) + (v as number) ** 2,
      0,
    ) as number,
  );

/** |ours - reference| / max(|reference|, floor), norms over the whole tensor. */
export function relativeError(
  ours: ArrayLike<number>,
  reference: Float32Array,
  floor = Number.MIN_VALUE,
): number {
  if (ours.length !== reference.length) return Number.POSITIVE_INFINITY;
  const difference = reference.map((v, i) => v - ours[i]);
  const size = Math.max(norm(reference), floor);
  const error = norm(difference);
  // An exact zero on both sides is agreement; a NaN on our side is not.
  return error === 0 ? 0 : Number.isNaN(error) ? Number.POSITIVE_INFINITY : error / size;
}

function compare(
  results: Record<string, Value>,
  expected: TensorFile,
  parameters: readonly string[],
): ParityReport {
  const report: ParityReport = {
    ok: false,
    model: "",
    errors: { logits: 0, hidden: 0, loss: 0, gradient: 0, trajectory: 0 },
    worst: { kind: "", name: "", error: -1 },
  };
  const reference = (name: string) => {
    if (!expected.infos.has(name)) throw new UserError(`${expected.path}: has no tensor "${name}"`);
    return expected.readF32(name);
  };
  record(report, "logits", "logits", relativeError(results.logits.data as Float32Array, reference("logits")));
  record(report, "loss", "loss", relativeError(results.loss.data as Float32Array, reference("loss")));
  for (const name of Object.keys(results))
    if (name.startsWith("hidden."))
      record(report, "hidden", name, relativeError(results[name].data as Float32Array, reference(name)));

  const gradients = parameters.map((name) => ({
    name,
    of: expected.infos.has(gradientName(name)) ? reference(gradientName(name)) : undefined,
  }));
  const sizes = gradients.flatMap(({ of }) => (of === undefined ? [] : [norm(of)])).sort((a, b) => a - b);
  // Some gradients are zero in exact arithmetic (k_proj.bias): what is compared there is rounding.
  const floor = 1e-4 * (sizes[Math.floor(sizes.length / 2)] ?? 0);
  for (const { name, of } of gradients) {
    if (of === undefined) continue;
    const ours = results[gradientName(name)]?.data ?? new Float32Array(of.length);
    record(report, "gradient", name, relativeError(ours as Float32Array, of, floor));
  }
  return report;
}

function record(report: ParityReport, kind: keyof typeof PARITY_BARS, name: string, error: number): void {
  report.errors[kind] = Math.max(report.errors[kind], error);
  // The worst is the one nearest to (or farthest past) its own bar.
  const { worst } = report;
  const share = worst.error < 0 ? -1 : worst.error / PARITY_BARS[worst.kind as keyof typeof PARITY_BARS];
  if (error / PARITY_BARS[kind] > share) report.worst = { kind, name, error };
}

async function compareTrajectory(
  report: ParityReport,
  program: Program,
  feeds: Record<string, Value>,
  into: Record<string, Value>,
  store: ParameterStore,
  expected: TensorFile,
): Promise<void> {
  if (!expected.infos.has(STEPS_KEY)) throw new UserError(`${expected.path}: has no tensor "${STEPS_KEY}"`);
  const reference = expected.readF32(STEPS_KEY);
  const optimiser = new Optimiser({ name: "adam", betas: [0.9, 0.98], eps: 1e-8 }, store);
  const losses = new Float32Array(reference.length);
  for (let step = 1; step <= reference.length; step++) {
    const { loss } = await program.run(feeds, into);
    losses[step - 1] = (loss.data as Float32Array)[0];
    await optimiser.step([{ start: 0, end: store.trainedSize, lr: 1e-3, weightDecay: 0, step }], 1);
  }
  await optimiser.dispose();
  record(report, "trajectory", STEPS_KEY, relativeError(losses, reference));
}
