import { join } from "node:path";
import { UserError } from "../errors.ts";
import { isBottleneck } from "../nn/adapters.ts";
import { type CrdnnConfig, pooledFrames } from "../nn/crdnn.ts";
import { isLora, type LoraSpec } from "../params/lora.ts";
import type { Dim } from "../tensor/dims.ts";
import { type TrainingConfig, type Upstream, upstreamOf } from "../upstreams/index.ts";
import { openCheckpoint, requirePretrainingHeads } from "../weights/checkpoint.ts";
import { loadStrict } from "../weights/model-folder.ts";
import { headOf } from "../weights/names.ts";
import type { Recipe } from "./recipe-schema.ts";
import type { ParameterStore } from "./store.ts";

/** The model that a recipe adapts: its configuration with the recipe's overrides, and where its weights are. */
export interface Model {
  readonly config: Readonly<Record<string, unknown>>;
  /** The configuration that goes into files, with its own masks in place of the recipe's, where it is another one. */
  readonly written?: Readonly<Record<string, unknown>>;
  /** What training reads of it, defaults filled in. */
  readonly settings: TrainingConfig;
  readonly upstream: Upstream;
  /** Whether frames of padding are hidden from the model; losses and pooling never see them either way. */
  readonly masked: boolean;
  /** Folder or file of pre-trained weights; absent where the model starts from random ones. */
  readonly source?: string;
  /** Low-rank sums that the plan adds to weights. */
  readonly lora?: LoraSpec;
  /** What stands between the upstream and all heads. */
  readonly crdnn?: CrdnnConfig;
}

/** What of a model says which frames its heads hear. */
export type Frames = Pick<Model, "upstream" | "crdnn">;

/** Frames that the heads hear of so many samples. */
export const headFrames = ({ upstream, crdnn }: Frames, samples: Dim): Dim =>
  pooledFrames(upstream.frames(samples), crdnn?.timePooling ?? 1);
/** Samples between the beginnings of two of them. */
export const headHop = ({ upstream, crdnn }: Frames): number => upstream.hop * (crdnn?.timePooling ?? 1);
/** How wide they are. */
export const headWidth = ({ upstream, crdnn }: Frames): number =>
  crdnn?.dnnNeurons.at(-1) ?? upstream.hiddenSize;

const OVERRIDES: readonly [key: string, value: (recipe: Recipe) => number | undefined][] = [
  ["attention_dropout", (r) => r.dropout.attention],
  ["hidden_dropout", (r) => r.dropout.hidden],
  ["activation_dropout", (r) => r.dropout.activation],
  ["feat_proj_dropout", (r) => r.dropout.featProj],
  ["final_dropout", (r) => r.dropout.final],
  ["layerdrop", (r) => r.dropout.layerdrop],
  ["mask_time_prob", (r) => r.augment.timeMask.prob],
  ["mask_time_length", (r) => r.augment.timeMask.length],
  ["mask_time_min_masks", (r) => r.augment.timeMask.minMasks],
  ["mask_feature_prob", (r) => r.augment.channelMask.prob],
  ["mask_feature_length", (r) => r.augment.channelMask.length],
  ["mask_feature_min_masks", (r) => r.augment.channelMask.minMasks],
  ["adapter_attn_dim", ({ plan: { adapter: a } }) => (a?.kind === "serial" ? a.width : undefined)],
  ["houlsby_adapter_dim", ({ plan: { adapter: a } }) => (a?.kind === "houlsby" ? a.width : undefined)],
];

/**
 * Reads the configuration of the recipe's upstream; the weights are left where they are.
 * @throws UserError naming file and key
 */
export function modelOf(recipe: Recipe): Model {
  const { model: source, config: inline, padding } = recipe.upstream;
  const [config, where] =
    source === undefined
      ? [{ ...inline }, "recipe: upstream.config"]
      : [configOf(source), join(source, "config.json")];
  const own = { ...config };
  for (const [key, value] of OVERRIDES) {
    const given = value(recipe);
    if (given !== undefined) config[key] = given;
  }
  asksForMasks(config, recipe);
  const upstream = upstreamOf(config, where);
  const masked = padding === "hide" || (padding === "auto" && !upstream.padSensitive);
  const written = withMasksOf(own, config);
  const { crdnn, plan } = recipe;
  if (crdnn !== undefined && upstream.hiddenSize < crdnn.frequencyPooling ** crdnn.channels.length)
    throw new UserError(
      `crdnn.frequencyPooling: leaves nothing of ${upstream.hiddenSize} features after ${crdnn.channels.length} blocks`,
    );
  return {
    ...{ config, written, settings: upstream.settings, upstream, masked, source },
    ...{ lora: plan.lora, crdnn },
  };
}

/**
 * What a trained model's files say: masks are a matter of each training, so those of the recipe's `augment` are not handed on.
 * Who fine-tunes a model that was pre-trained with two thirds of its frames hidden would hide as many.
 */
function withMasksOf(own: Record<string, unknown>, config: Record<string, unknown>): Record<string, unknown> {
  const ofMasks = (key: string) => key.startsWith("mask_") || key === "apply_spec_augment";
  const kept = (all: Record<string, unknown>, masks: boolean) =>
    Object.entries(all).filter(([key]) => ofMasks(key) === masks);
  return Object.fromEntries([...kept(config, false), ...kept(own, true)]);
}

/**
 * A model as its configuration has it, without a recipe. SpecAugment is for training: without it, a checkpoint need not hold the
 * vector that hides frames.
 */
export function bareModel(config: Readonly<Record<string, unknown>>, where: string): Model {
  const upstream = upstreamOf({ ...config, mask_time_prob: 0, mask_feature_prob: 0 }, where);
  return { config, settings: upstream.settings, upstream, masked: !upstream.padSensitive };
}

/** Masks that the recipe asks for are drawn though the model's configuration switches masking off; no other ones are. */
function asksForMasks(config: Record<string, unknown>, { augment }: Recipe): void {
  const [frames, channels] = [augment.timeMask.prob ?? 0, augment.channelMask.prob ?? 0];
  if (config["apply_spec_augment"] !== false || (frames === 0 && channels === 0)) return;
  Object.assign(config, {
    apply_spec_augment: true,
    mask_time_prob: frames,
    mask_feature_prob: channels,
  });
}

/** Whether a parameter is what a plan of adapters adds to a model. */
export const isAdapter = (name: string): boolean => isBottleneck(name) || isLora(name);

function configOf(source: string): Record<string, unknown> {
  const checkpoint = openCheckpoint(source);
  checkpoint.weights.close();
  return { ...checkpoint.config };
}

/** What the model's files leave open, and where they ask for other audio than the recipe gives. */
export function sayWhatIsAssumed(
  model: Model,
  { corpus, augment }: Recipe,
  log: (line: string) => void,
): void {
  const { source, settings, upstream } = model;
  if (source === undefined) return;
  const { weights, notes, preprocessor } = openCheckpoint(source);
  weights.close();
  const masks = settings.apply_spec_augment && settings.mask_time_prob > 0;
  if (masks && settings.mask_time_prob > 0.3 && augment.timeMask.prob === undefined)
    log(
      `${source}: hides ${Math.round(100 * settings.mask_time_prob)} % of the frames in training, as pre-training does; fine-tuning usually hides 5 %, which augment.timeMask.prob: 0.05 asks for`,
    );
  if (masks && upstream.maskVector && !weights.infos.has(`${upstream.prefix}.masked_spec_embed`))
    log(`${source}: has no vector for hidden frames; it starts from random numbers`);
  for (const note of notes) log(`${source}: taken as usual: ${note}`);
  const wanted = preprocessor?.["do_normalize"];
  if (typeof wanted === "boolean" && wanted !== corpus.normalize)
    log(
      `${source}: was trained with audio ${wanted ? "of zero mean and unit variance" : "as it is"}; corpus.normalize is ${corpus.normalize}`,
    );
}

/** Refuses a pre-trained model without the heads that continued pre-training needs. @throws UserError naming them */
export function requireHeads({ source }: Model, heads: readonly string[]): void {
  if (source === undefined || heads.length === 0) return;
  const checkpoint = openCheckpoint(source);
  checkpoint.weights.close();
  requirePretrainingHeads(checkpoint, [...heads]);
}

/**
 * Fills the upstream's part of the store from the model's own weights, each tensor exactly once, and with it the
 * pre-training heads that training goes on with. Other heads of the checkpoint are left out: the recipe's objectives
 * bring theirs.
 */
export function loadUpstream(model: Model, store: ParameterStore, heads: readonly string[] = []): void {
  if (model.source === undefined) return;
  const { weights } = openCheckpoint(model.source);
  try {
    const prefix = `${model.upstream.prefix}.`;
    // The vector for hidden frames: not every file has one, and it is not wanted where nothing is hidden.
    const adapted = [...weights.infos.keys()].some(isAdapter);
    const vector = `${prefix}masked_spec_embed`;
    const wanted = new Map(
      [...store.specs]
        .filter(([name]) => name.startsWith(prefix) || heads.includes(name))
        .filter(([name]) => name !== vector || weights.infos.has(vector))
        // New adapters start by themselves; those of a checkpoint are loaded, all of them.
        .filter(([name]) => adapted || !isAdapter(name))
        .map(([name, spec]) => [name, spec.shape]),
    );
    const unwanted = (name: string) => (headOf(name) !== undefined || name === vector) && !wanted.has(name);
    const loaded = loadStrict(weights, wanted, (name) => (unwanted(name) ? undefined : name));
    for (const name of wanted.keys()) loaded.readF32(name, store.array(name));
    const bad = [...wanted.keys()].find((name) => store.array(name).some((x) => !Number.isFinite(x)));
    if (bad !== undefined) throw new UserError(`${weights.path}: "${bad}" holds a NaN or an infinity`);
  } finally {
    weights.close();
  }
}
