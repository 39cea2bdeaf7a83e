import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../errors.ts";
import { compile } from "../../runtime/cpu.ts";
import { f32, i32 } from "../../runtime/program.ts";
import { exportModel } from "../../train/export.ts";
import { MASKS, type Marginals, marginals, readMarginals } from "../../train/mask-file.ts";
import { modelOf } from "../../train/model.ts";
import { type OpenedModel, openModel } from "../../train/open-model.ts";
import { evaluationGraph } from "../../train/program.ts";
import type { ParameterStore } from "../../train/store.ts";
import { type Task, traceEvaluation } from "../../train/task.ts";
import { storeOf } from "../../train/trained-task.ts";

/**
 * Structured pruning: whole channels of the feed-forward blocks and whole attention heads are taken out, equally many in each layer, so
 * that what is left is a smaller dense model. What counts least goes: by the sum of the magnitudes of a channel's or head's
 * *effective* weights, which a run's masks have a say in, or of the scores themselves.
 */
export interface ShrinkOptions {
  /** Share of feed-forward channels to take out of each layer. */
  readonly ffn: number;
  /** Share of attention heads to take out of each layer. */
  readonly heads: number;
  /** What counts: the magnitudes of the effective weights (default), or those of the scores that a run with masks learned. */
  readonly by?: "magnitude" | "scores";
  readonly threads?: number;
}

export interface ShrinkReport {
  readonly folder: string;
  readonly before: Measured;
  readonly after: Measured;
  readonly channels: readonly [number, number];
  readonly heads: readonly [number, number];
}

export interface Measured {
  readonly parameters: number;
  readonly megabytes: number;
  /** Median forward pass over 10 s of audio. */
  readonly forwardMs: number;
}

/** @throws UserError where the model is no run's, or is of a kind whose heads cannot be taken out */
export async function shrinkRun(folder: string, out: string, options: ShrinkOptions): Promise<ShrinkReport> {
  const model = openModel(folder);
  const { recipe, task } = model;
  if (recipe === undefined) throw new UserError(`${folder}: is no run's folder or pack`);
  const config = task.model.config as Record<string, number | string | null | undefined>;
  const { modelType, hiddenSize } = task.model.upstream;
  if (options.heads > 0 && modelType === "wavlm")
    throw new UserError(
      "--heads: WavLM's position scores belong to its heads; only --ffn can be taken out of it",
    );
  const channels = Number(config.intermediate_size ?? 3072);
  const heads = Number(config.num_attention_heads ?? 12);
  const width = Number(config.head_width ?? hiddenSize / heads);
  const keepChannels = Math.max(1, channels - Math.floor(options.ffn * channels));
  const keepHeads = Math.max(1, heads - Math.floor(options.heads * heads));
  const smaller = {
    ...config,
    intermediate_size: keepChannels,
    num_attention_heads: keepHeads,
    ...(keepHeads < heads ? { head_width: width } : {}),
  };
  const small: Task = {
    ...task,
    model: modelOf({ ...recipe, upstream: { ...recipe.upstream, model: undefined, config: smaller } }),
  };
  const store = storeOf(small);
  const chosen = new Map<string, number[]>();
  let layers = 0;
  const importance = importanceBy(options.by, folder, model.store);
  for (const name of model.store.specs.keys()) {
    const layer = /^(.*layers\.\d+\.)feed_forward\.intermediate_dense\.weight$/.exec(name)?.[1];
    if (layer === undefined) continue;
    layers++;
    if (keepChannels < channels)
      chosen.set(`${layer}feed_forward`, importantChannels(importance, layer, channels, keepChannels));
    if (keepHeads < heads)
      chosen.set(`${layer}attention`, importantHeads(importance, layer, { heads, width, keep: keepHeads }));
  }
  if (layers === 0) throw new UserError(`${folder}: has no transformer layers to take channels out of`);
  for (const [name, { shape }] of store.specs) {
    const [, block, part] = /^(.*layers\.\d+\.(?:feed_forward|attention))\.(.*)$/.exec(name) ?? [];
    const kept = block === undefined ? undefined : chosen.get(block);
    const from = model.store.array(name);
    if (kept === undefined || from.length === store.array(name).length) store.array(name).set(from);
    else if (/^(output_dense|out_proj)\.weight$/.test(part))
      pickColumns(from, kept, model.store.specs.get(name)!.shape[1], store.array(name), shape[1]);
    else pickRows(from, kept, shape.length === 2 ? shape[1] : 1, store.array(name));
  }
  mkdirSync(out, { recursive: true });
  exportModel(out, small, store, { spec: model.audio });
  for (const file of ["recipe.yaml", "run.json", "lineage.json"])
    if (existsSync(join(folder, file))) copyFileSync(join(folder, file), join(out, file));
  return {
    folder: out,
    before: await measured(model, task, options.threads),
    after: await measured({ ...model, store }, small, options.threads),
    channels: [channels, keepChannels],
    heads: [heads, keepHeads],
  };
}

/** The `keep` largest of some importances, in ascending order of their places. */
function largest(importance: Float64Array, keep: number): number[] {
  const order = Array.from(importance, (_, i) => i).sort((a, b) => importance[b] - importance[a] || a - b);
  return order.slice(0, keep).sort((a, b) => a - b);
}

/** What leads to and from each output and input of a matrix. */
type Importance = (name: string) => Marginals;

/** By the magnitudes of effective weights, or by scores, whose matrices have scales of their own. */
function importanceBy(by: ShrinkOptions["by"], folder: string, store: ParameterStore): Importance {
  if (by !== "scores") return (name) => marginals(store.array(name), store.specs.get(name)!.shape);
  const path = join(folder, MASKS);
  if (!existsSync(path))
    throw new UserError(`--by scores: ${path} does not exist; only runs with a \`plan.mask\` have scores`);
  const scores = readMarginals(path);
  return (name) => {
    const found = scores.get(name);
    if (found === undefined)
      throw new UserError(
        `--by scores: the run has no scores for ${name}; its \`plan.mask.modules\` left it out`,
      );
    const total = found.outputs.reduce((sum, x) => sum + x, 0);
    return { outputs: found.outputs.map((x) => x / total), inputs: found.inputs.map((x) => x / total) };
  };
}

/** Channels by what leads to them and from them. */
function importantChannels(of: Importance, layer: string, channels: number, keep: number): number[] {
  const into = of(`${layer}feed_forward.intermediate_dense.weight`).outputs;
  const from = of(`${layer}feed_forward.output_dense.weight`).inputs;
  return largest(
    Float64Array.from({ length: channels }, (_, c) => into[c] + from[c]),
    keep,
  );
}

/** Rows of the three projections (columns of the fourth) that belong to the heads that are kept. */
function importantHeads(
  of: Importance,
  layer: string,
  { heads, width, keep }: { heads: number; width: number; keep: number },
): number[] {
  const importance = new Float64Array(heads);
  const add = (sums: Float32Array) => {
    for (const [i, sum] of sums.entries()) importance[Math.floor(i / width)] += sum;
  };
  for (const part of ["q_proj", "k_proj", "v_proj"]) add(of(`${layer}attention.${part}.weight`).outputs);
  add(of(`${layer}attention.out_proj.weight`).inputs);
  return largest(importance, keep).flatMap((head) =>
    Array.from({ length: width }, (_, i) => head * width + i),
  );
}

function pickRows(from: Float32Array, kept: readonly number[], width: number, into: Float32Array): void {
  for (const [place, row] of kept.entries())
    into.set(from.subarray(row * width, (row + 1) * width), place * width);
}

function pickColumns(
  from: Float32Array,
  kept: readonly number[],
  width: number,
  into: Float32Array,
  narrow: number,
): void {
  for (let row = 0; row * width < from.length; row++)
    for (const [place, column] of kept.entries()) into[row * narrow + place] = from[row * width + column];
}

const ROUNDS = 5;

async function measured({ store, audio }: OpenedModel, task: Task, threads?: number): Promise<Measured> {
  const { table, outputs, inputs } = traceEvaluation(task, task.objectives, false);
  const program = await compile(evaluationGraph(table, outputs, inputs), { threads });
  const samples = 10 * audio.sampleRate;
  const feeds = {
    ...store.values,
    audio: f32(
      [1, samples],
      Float32Array.from({ length: samples }, (_, i) => Math.sin(i / 7)),
    ),
    frames: i32([1], [task.model.upstream.frames(samples) as number]),
  };
  const times: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const began = performance.now();
    await program.run(feeds);
    if (round > 0) times.push(performance.now() - began);
  }
  await program.dispose();
  const parameters = store.weights.length;
  return {
    parameters,
    megabytes: (4 * parameters) / 1e6,
    forwardMs: times.sort((a, b) => a - b)[Math.floor(ROUNDS / 2)],
  };
}
