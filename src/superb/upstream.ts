import { createHash } from "node:crypto";
import { basename, resolve } from "node:path";
import * as ops from "../ops/index.ts";
import { ParameterTable } from "../params/params.ts";
import { compile } from "../runtime/cpu.ts";
import { f32, type Value } from "../runtime/program.ts";
import { symbol } from "../tensor/dims.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { LINEAGE_FILE, type Lineage, parseLineage, readLineage } from "../train/lineage.ts";
import { type OpenedModel, openModel } from "../train/open-model.ts";
import { runFile } from "../train/pack.ts";
import { isPack } from "../train/pack-file.ts";
import { evaluationGraph } from "../train/program.ts";
import { ParameterStore } from "../train/store.ts";
import { type Upstream, upstreamOf } from "../upstreams/index.ts";
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
  /** Hidden states as wide as its output: the transformer's layers and their input. */
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
  /** What results call it; by default the last part of its path. */
  readonly name?: string;
  readonly threads?: number;
  /** Default: what the model's preprocessor configuration says, else false. */
  readonly normalize?: boolean;
}

/** The log-mel features that SUPERB's score calls 0. */
export const LOG_MEL = "log-mel";

/** Opens a run, a model folder or checkpoint of any form, or `log-mel`. @throws UserError naming what does not fit */
export async function openUpstream(
  path: string,
  options: UpstreamOptions = {},
  { task, store, audio }: OpenedModel = openModel(path),
): Promise<FrozenUpstream> {
  const { upstream, config } = task.model;
  return frozen(
    { name: options.name ?? (path === LOG_MEL ? LOG_MEL : basename(resolve(path))), upstream, config, store },
    { ...audio, ...options, lineage: lineageOf(path) },
  );
}

function lineageOf(path: string): Lineage | undefined {
  if (!isPack(path)) return readLineage(path);
  const text = runFile(path, LINEAGE_FILE);
  return text === undefined ? undefined : parseLineage(text, `${path}: ${LINEAGE_FILE}`);
}

/** An upstream by its configuration, with random weights. */
export async function upstreamFrom(
  name: string,
  config: Readonly<Record<string, unknown>>,
  { seed = 0, ...options }: UpstreamOptions & { seed?: number } = {},
): Promise<FrozenUpstream> {
  const upstream = upstreamOf(config, name);
  const store = new ParameterStore(trace(upstream).table.specs, () => false);
  store.initialise(seed);
  return frozen({ name, upstream, config, store }, { sampleRate: upstream.sampleRate, ...options });
}

interface Model {
  name: string;
  upstream: Upstream;
  config: Readonly<Record<string, unknown>>;
  /** The upstream's weights, and maybe those of heads. */
  store: ParameterStore;
}

async function frozen(
  { name, upstream, config, store }: Model,
  options: UpstreamOptions & { sampleRate: number; lineage?: Lineage },
): Promise<FrozenUpstream> {
  const { sampleRate, normalize = false, threads, lineage } = options;
  const { table, audio, states } = trace(upstream);
  const outputs = Object.fromEntries(states.map((state, i) => [`hidden.${i}`, state]));
  const program = await compile(evaluationGraph(table, outputs, [audio]), { threads });
  const weights = Object.fromEntries([...table.specs.keys()].map((key) => [key, store.values[key]]));
  return {
    name,
    hash: hashOf(config, upstream.modelType, weights, normalize),
    layers: states.length,
    dim: upstream.hiddenSize,
    ...{ sampleRate, hop: upstream.hop, normalize, lineage },
    frames: (samples) => Math.max(0, upstream.frames(samples) as number),
    async hear(wave) {
      const results = await program.run({ ...weights, audio: f32([1, wave.length], wave) });
      const heard = states.map((_, i) => results[`hidden.${i}`]);
      return { frames: heard[0].shape[1], layers: heard.map(({ data }) => data as Float32Array) };
    },
    dispose: () => program.dispose(),
  };
}

function trace(upstream: Upstream): { table: ParameterTable; audio: Tensor; states: Tensor[] } {
  const table = new ParameterTable();
  const audio = ops.input("audio", [1, symbol("samples")]);
  const { hidden, last } = upstream.forward({ audio }, table.at(upstream.prefix));
  // As s3prl has it: the last state is the encoder's output, in pre-norm models behind the final layer norm. States of another
  // width than that (the LSTM layers of a PASE-like encoder) are no part of a sum with it.
  const alike = hidden.slice(0, -1).filter((state) => state.shape[2] === last.shape[2]);
  return { table, audio, states: [...alike, last] };
}

/** Keys of a configuration that say where a model comes from or what it does while it trains, not what it computes. */
const BOOKKEEPING =
  /^(_|architectures$|transformers_version$|torch_dtype$|dtype$|vocab_size$|pad_token_id$|ctc_|mask_|id2label$|label2id$|.*dropout$|layerdrop$)/;

function hashOf(
  config: Readonly<Record<string, unknown>>,
  modelType: string,
  weights: Readonly<Record<string, Value>>,
  normalize: boolean,
): string {
  const keys = Object.keys(config)
    .filter((key) => !BOOKKEEPING.test(key))
    .sort();
  const hash = createHash("sha256");
  hash.update(JSON.stringify([modelType, normalize, keys.map((key) => [key, config[key]])]));
  for (const name of Object.keys(weights).sort()) {
    if (name.endsWith(".masked_spec_embed")) continue;
    hash.update(`${name} ${weights[name].shape}\n`).update(bytesOf(weights[name].data));
  }
  return hash.digest("hex").slice(0, 32);
}
