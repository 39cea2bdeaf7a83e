import { createHash } from "node:crypto";
import { basename, resolve } from "node:path";
import * as ops from "../ops/index.ts";
import { ParameterTable } from "../params/params.ts";
import { compile } from "../runtime/cpu.ts";
import { f32, type Program } from "../runtime/program.ts";
import { symbol } from "../tensor/dims.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type Lineage, readLineage } from "../train/lineage.ts";
import { loadUpstream } from "../train/model.ts";
import { evaluationGraph } from "../train/program.ts";
import { ParameterStore } from "../train/store.ts";
import { type Upstream, upstreamOf } from "../upstreams/index.ts";
import { openCheckpoint } from "../weights/checkpoint.ts";
import { bytesOf } from "../weights/tensor-file.ts";

/** All hidden states of one recording. */
export interface Hidden {
  readonly frames: number;
  /** One array [frames, dim] for each layer, the transformer's input first. */
  readonly layers: readonly Float32Array[];
}

/** A model as probes see it: nothing of it trains, nothing in it is random. */
export interface FrozenUpstream {
  readonly name: string;
  /** Equal exactly when configuration and weights are: what cached hidden states are filed under. */
  readonly hash: string;
  /** Hidden states that it has: the transformer's layers and their input. */
  readonly layers: number;
  readonly dim: number;
  readonly sampleRate: number;
  /** Samples between frames. */
  readonly hop: number;
  /** Whether recordings are brought to zero mean and unit variance first. */
  readonly normalize: boolean;
  /** What it learned from, where that is known. */
  readonly lineage?: Lineage;
  frames(samples: number): number;
  /** One recording at a time, so that no padding of a batch has a say in what its frames become. */
  hear(wave: Float32Array): Promise<Hidden>;
  dispose(): Promise<void>;
}

export interface UpstreamOptions {
  readonly threads?: number;
  /** Default: what the model's preprocessor configuration says, else false. */
  readonly normalize?: boolean;
}

/** The log-mel features that SUPERB's score calls 0. */
export const LOG_MEL = "log-mel";

/** Opens a model folder or checkpoint of any form, or `log-mel`. @throws UserError naming what does not fit */
export async function openUpstream(path: string, options: UpstreamOptions = {}): Promise<FrozenUpstream> {
  if (path === LOG_MEL) return upstreamFrom(LOG_MEL, { model_type: LOG_MEL }, options);
  const { config, preprocessor, weights } = openCheckpoint(path);
  weights.close();
  const stated = preprocessor?.do_normalize;
  const normalize = options.normalize ?? stated === true;
  const lineage = readLineage(path);
  return upstreamFrom(basename(resolve(path)), config, { ...options, normalize, source: path, lineage });
}

/** An upstream by its configuration, with the weights of `source` or, where there is none, random ones by `seed`. */
export async function upstreamFrom(
  name: string,
  config: Readonly<Record<string, unknown>>,
  options: UpstreamOptions & { source?: string; seed?: number; lineage?: Lineage } = {},
): Promise<FrozenUpstream> {
  const { source, seed = 0, normalize = false, threads, lineage } = options;
  const upstream = upstreamOf(config, source ?? name);
  const table = new ParameterTable();
  const audio = ops.input("audio", [1, symbol("samples")]);
  const { hidden } = upstream.forward({ audio }, table.at(upstream.prefix));
  const store = new ParameterStore(table.specs, () => false);
  if (source === undefined) store.initialise(seed);
  else loadUpstream({ config, settings: upstream.settings, upstream, masked: false, source }, store);
  const outputs: Record<string, Tensor> = {};
  for (const [i, state] of hidden.entries()) outputs[`hidden.${i}`] = state;
  const program = await compile(evaluationGraph(table, outputs, [audio]), { threads });
  return {
    name,
    hash: hashOf(config, upstream, store, normalize),
    layers: hidden.length,
    dim: upstream.hiddenSize,
    sampleRate: upstream.sampleRate,
    hop: upstream.hop,
    normalize,
    lineage,
    frames: (samples) => Math.max(0, upstream.frames(samples) as number),
    hear: (wave) => hear(program, store, hidden.length, wave),
    dispose: () => program.dispose(),
  };
}

async function hear(
  program: Program,
  store: ParameterStore,
  layers: number,
  wave: Float32Array,
): Promise<Hidden> {
  const results = await program.run({ ...store.values, audio: f32([1, wave.length], wave) });
  const states = Array.from({ length: layers }, (_, i) => results[`hidden.${i}`]);
  return { frames: states[0].shape[1], layers: states.map(({ data }) => data as Float32Array) };
}

/** Keys of a configuration that say where a model comes from or what it does while it trains, not what it computes. */
const BOOKKEEPING =
  /^(_|architectures$|transformers_version$|torch_dtype$|dtype$|vocab_size$|.*dropout$|layerdrop$)/;

function hashOf(
  config: Readonly<Record<string, unknown>>,
  { modelType }: Upstream,
  store: ParameterStore,
  normalize: boolean,
): string {
  const keys = Object.keys(config)
    .filter((key) => !BOOKKEEPING.test(key))
    .sort();
  const hash = createHash("sha256");
  hash.update(JSON.stringify([modelType, normalize, keys.map((key) => [key, config[key]])]));
  for (const { name, start, end } of store.spans.values()) hash.update(`${name} ${start} ${end}\n`);
  return hash.update(bytesOf(store.weights)).digest("hex").slice(0, 32);
}
