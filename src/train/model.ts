import { join } from "node:path";
import { UserError } from "../errors.ts";
import { type TrainingConfig, type Upstream, upstreamOf } from "../upstreams/index.ts";
import { openCheckpoint } from "../weights/checkpoint.ts";
import { loadStrict } from "../weights/model-folder.ts";
import { headOf } from "../weights/names.ts";
import type { Recipe } from "./recipe-schema.ts";
import type { ParameterStore } from "./store.ts";

/** The model that a recipe adapts: its configuration with the recipe's overrides, and where its weights are. */
export interface Model {
  readonly config: Readonly<Record<string, unknown>>;
  /** What training reads of it, defaults filled in. */
  readonly settings: TrainingConfig;
  readonly upstream: Upstream;
  /** Whether frames of padding are hidden from the model; losses and pooling never see them either way. */
  readonly masked: boolean;
  /** Folder or file of pre-trained weights; absent where the model starts from random ones. */
  readonly source?: string;
}

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
  for (const [key, value] of OVERRIDES) {
    const given = value(recipe);
    if (given !== undefined) config[key] = given;
  }
  const upstream = upstreamOf(config, where);
  const masked = padding === "hide" || (padding === "auto" && !upstream.padSensitive);
  return { config, settings: upstream.settings, upstream, masked, source };
}

function configOf(source: string): Record<string, unknown> {
  const checkpoint = openCheckpoint(source);
  checkpoint.weights.close();
  return { ...checkpoint.config };
}

/** Fills the upstream's part of the store from the model's own weights, each tensor exactly once. */
export function loadUpstream(model: Model, store: ParameterStore): void {
  if (model.source === undefined) return;
  const { weights } = openCheckpoint(model.source);
  try {
    const prefix = `${model.upstream.prefix}.`;
    const wanted = new Map(
      [...store.specs].filter(([name]) => name.startsWith(prefix)).map(([name, spec]) => [name, spec.shape]),
    );
    // Heads of the checkpoint's own task and of pre-training are left out: the recipe's objectives bring theirs.
    const loaded = loadStrict(weights, wanted, (name) => (headOf(name) === undefined ? name : undefined));
    for (const name of wanted.keys()) loaded.readF32(name, store.array(name));
    const bad = [...wanted.keys()].find((name) => store.array(name).some((x) => !Number.isFinite(x)));
    if (bad !== undefined) throw new UserError(`${weights.path}: "${bad}" holds a NaN or an infinity`);
  } finally {
    weights.close();
  }
}
