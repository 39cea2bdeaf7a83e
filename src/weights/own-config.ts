import { quote, UserError } from "../errors.ts";
import { convLayers } from "./conv-layers.ts";
import { PREFIXES } from "./names.ts";
import type { Settings } from "./plain-data.ts";
import type { TensorFile } from "./tensor-file.ts";

// Configurations of models that transformers does not have, from the settings or shapes in their authors' files.

const AGGREGATOR = Array.from({ length: 12 }, (_, i) => `(512,${i + 2},1)`).join(",");
const EXTRACTOR = "[(512,10,5),(512,8,4),(512,4,2),(512,4,2),(512,4,2),(512,1,1),(512,1,1),(512,1,1)]";

/** vq-wav2vec's (and wav2vec's) from fairseq's settings; what is not there has fairseq's default. */
export function vqWav2VecConfigFrom(path: string, model: Settings): Record<string, unknown> {
  const or = <T>(key: string, otherwise: T): T => {
    const value = model.get(key);
    return typeof value === typeof otherwise ? (value as T) : otherwise;
  };
  const refuse = (key: string, built: string): never => {
    throw new UserError(
      `${path}: has ${key} ${quote(model.get(key))}, which we do not build (only ${built})`,
    );
  };
  if (or("aggregator", "cnn") !== "cnn") refuse("aggregator", "cnn");
  if (!["gumbel", "none"].includes(or("vq_type", "none"))) refuse("vq_type", "gumbel");
  const layers = convLayers(path, model.get("conv_feature_layers") ?? EXTRACTOR);
  const aggregator = convLayers(path, model.get("conv_aggregator_layers") ?? `[${AGGREGATOR}]`);
  if (aggregator.some(([, , stride]) => stride !== 1))
    throw new UserError(`${path}: has conv_aggregator_layers with a stride, which we do not build`);
  return {
    model_type: "vq-wav2vec",
    conv_dim: layers.map(([dim]) => dim),
    conv_kernel: layers.map(([, kernel]) => kernel),
    conv_stride: layers.map(([, , stride]) => stride),
    skip_connections_feat: or("skip_connections_feat", false),
    log_compression: or("log_compression", true),
    aggregator_dim: aggregator.map(([dim]) => dim),
    aggregator_kernel: aggregator.map(([, kernel]) => kernel),
    aggregator_bias: !or("no_conv_bias", false),
    aggregator_zero_pad: or("agg_zero_pad", false),
    skip_connections_agg: or("skip_connections_agg", true),
    residual_scale: or("residual_scale", 0.5),
    activation: or("activation", "relu"),
    affine_norm: !or("non_affine_group_norm", false),
    dropout: or("dropout", 0),
    dropout_features: or("dropout_features", 0),
    dropout_agg: or("dropout_agg", 0),
    vq_type: or("vq_type", "none"),
    vq_vars: or("vq_vars", 320),
    vq_groups: or("vq_groups", 2),
    vq_dim: or("vq_dim", 0),
    vq_depth: or("vq_depth", 1),
    combine_groups: or("combine_groups", false),
  };
}

/** What no shape of a PASE+ file shows, as in the authors' `PASE+.cfg`. */
const PASE_PLUS = { first: 251, strides: [1, 10, 2, 1, 2, 1, 2, 2] };

/** PASE+'s from the shapes of its weights. */
export function pasePlusConfigFrom(path: string, weights: TensorFile): Record<string, unknown> {
  const prefix = PREFIXES["pase-plus"];
  const shape = (name: string): number[] => {
    const info = weights.infos.get(prefix + name);
    if (!info)
      throw new UserError(`${path}: lacks ${quote(prefix + name)}, so that its sizes cannot be told`);
    return info.shape;
  };
  const has = (name: string) => weights.infos.has(prefix + name);
  const { first, strides } = PASE_PLUS;
  if (strides.some((_, i) => !has(`blocks.${i}.norm.weight`)) || has(`blocks.${strides.length}.norm.weight`))
    throw new UserError(
      `${path}: is a PASE model without the ${strides.length} blocks of PASE+, which we do not build`,
    );
  let layers = 0;
  while (has(`rnn.layers.${layers}.linear.weight`)) layers++;
  if (layers === 0)
    throw new UserError(`${path}: is a PASE model without PASE+'s QRNN, which we do not build`);
  return {
    model_type: "pase-plus",
    kwidths: [first, ...strides.slice(1).map((_, i) => shape(`blocks.${i + 1}.conv.weight`)[2])],
    strides,
    fmaps: strides.map((_, i) => shape(`blocks.${i}.norm.weight`)[0]),
    emb_dim: shape("W.weight")[0],
    rnn_dim: shape("W.weight")[1],
    rnn_layers: layers,
    denseskips: has("denseskips.0.weight"),
    norm_out: has("norm_out.running_mean"),
  };
}
