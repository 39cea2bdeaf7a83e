import { UserError } from "../errors.ts";
import * as ops from "../ops/index.ts";
import { ParameterTable } from "../params/params.ts";
import { symbol } from "../tensor/dims.ts";
import { type Upstream, upstreamOf } from "../upstreams/index.ts";
import { type Checkpoint, openCheckpoint, pretrainingHeadsOf } from "../weights/checkpoint.ts";
import { headOf } from "../weights/names.ts";
import { elementCount } from "../weights/tensor-file.ts";
import { fitsName } from "./groups.ts";
import { WITHOUT_WEIGHTS } from "./locate.ts";
import { ctcTask, stepMemory } from "./memory.ts";
import type { Model } from "./model.ts";
import { isRun } from "./open-model.ts";
import { plan as planSchema } from "./schema-learning.ts";

export interface InspectOptions {
  readonly batch: number;
  readonly seconds: number;
  /** A plan of the user's own besides the usual ones. */
  readonly freeze?: readonly string[];
}

interface Part {
  name: string;
  parameters: number;
}

/** What there is to know of a model before it trains. @throws UserError naming what is not a model */
export function reportModel(path: string, options: InspectOptions) {
  const checkpoint = WITHOUT_WEIGHTS.includes(path) ? weightless(path) : openCheckpoint(path);
  checkpoint.weights.close();
  const { config, family, weights } = checkpoint;
  const upstream = upstreamOf(config, path);
  const infos = [...weights.infos.values()].map(({ name, shape, dtype }) => ({
    name,
    dtype,
    count: elementCount(shape)!,
  }));
  const own = infos.filter(({ name }) => headOf(name) === undefined);
  const inside = (name: string) => name.slice(upstream.prefix.length + 1);
  const sum = (list: readonly { count: number }[]) => list.reduce((total, { count }) => total + count, 0);
  const grouped = (list: typeof infos, key: (name: string) => string): Part[] => {
    const names = [...new Set(list.map(({ name }) => key(name)))];
    return names.map((name) => ({ name, parameters: sum(list.filter((info) => key(info.name) === name)) }));
  };
  const usual = planSchema.parse({}).freeze;
  const frozen = own.filter(({ name }) => usual.some((match) => fitsName(match, inside(name))));
  const normalize = checkpoint.preprocessor?.["do_normalize"];
  return {
    path,
    source: isRun(path) ? "a run's folder" : checkpoint.source,
    family,
    architecture: architectureOf(config),
    layers: upstream.layers,
    hiddenSize: upstream.hiddenSize,
    hiddenStates: hiddenStates(upstream),
    parameters: {
      total: sum(own),
      tensors: own.length,
      parts: grouped(own, (name) => inside(name).split(".")[0]),
    },
    dtypes: [...new Set(infos.map(({ dtype }) => dtype))],
    audio: {
      sampleRate: upstream.sampleRate,
      normalize: typeof normalize === "boolean" ? normalize : undefined,
    },
    frames: {
      hop: upstream.hop,
      perSecond: upstream.sampleRate / upstream.hop,
      ofSeconds: upstream.frames(Math.round(options.seconds * upstream.sampleRate)) as number,
    },
    heads: grouped(
      infos.filter(({ name }) => headOf(name) !== undefined),
      (name) => name.split(".")[0],
    ),
    pretraining: pretrainingOf(checkpoint),
    frozen: grouped(frozen, (name) => inside(name).split(".")[0]),
    notes: checkpoint.notes,
    plans: plansOf(upstream, config, options),
  };
}

function weightless(name: string): Checkpoint {
  const nothing = {
    path: name,
    infos: new Map(),
    metadata: {},
    readF32: () => new Float32Array(),
    readNumbers(wanted: string): never {
      throw new UserError(`${name}: holds no tensor "${wanted}"`);
    },
    close() {},
  };
  const family = name as Checkpoint["family"];
  const plan = { lines: [], names: new Map<string, string>() };
  return {
    path: name,
    source: "no weights",
    family,
    config: { model_type: name },
    weights: nothing,
    plan,
    notes: [],
  };
}

function architectureOf({ architectures }: Readonly<Record<string, unknown>>): string | undefined {
  const [first] = Array.isArray(architectures) ? architectures : [];
  return typeof first === "string" ? first : undefined;
}

function hiddenStates(upstream: Upstream): number {
  const audio = ops.input("audio", [symbol("batch"), symbol("samples")]);
  return upstream.forward({ audio }, new ParameterTable().at(upstream.prefix)).hidden.length;
}

function pretrainingOf(checkpoint: Checkpoint): string {
  const { needed, missing } = pretrainingHeadsOf(checkpoint);
  if (needed === undefined) return "no heads are known for this family";
  return missing.length === 0 ? "can go on: its heads are here" : `cannot go on: lacks ${missing.join(", ")}`;
}

/** The usual plans, by what they freeze, with the memory of a step under each. */
function plansOf(upstream: Upstream, config: Readonly<Record<string, unknown>>, options: InspectOptions) {
  const model: Model = { config, settings: upstream.settings, upstream, masked: !upstream.padSensitive };
  const half = Math.floor(upstream.layers / 2);
  const extractor = ["feature_extractor"];
  const lower = [...extractor, "feature_projection", "encoder.pos_conv_embed"];
  for (let i = 0; i < half; i++) lower.push(`encoder.layers.${i}`);
  const plans: { name: string; freeze: readonly string[] }[] = [
    { name: 'head only (freeze: ["*"])', freeze: ["*"] },
    ...(upstream.maskVector && half > 0
      ? [{ name: `upper ${upstream.layers - half} layers and head`, freeze: lower }]
      : []),
    { name: "all but feature_extractor (default)", freeze: extractor },
    { name: "everything (freeze: [])", freeze: [] },
    ...(options.freeze?.length
      ? [{ name: `freeze: [${options.freeze.join(", ")}]`, freeze: options.freeze }]
      : []),
  ];
  const task = ctcTask(model);
  return plans.map(({ name, freeze }) => {
    const step = (recompute: "none" | "all") =>
      stepMemory(task, { freeze, recompute, batch: options.batch, seconds: options.seconds, states: 2 });
    const [kept, again] = [step("none"), step("all")];
    return {
      name,
      freeze,
      trains: kept.trainedParameters,
      bytes: { none: kept.total, all: again.total },
      parts: kept,
    };
  });
}
