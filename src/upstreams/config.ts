import { z } from "zod";
import { UserError } from "../errors.ts";
import { ACTIVATIONS } from "../nn/layers.ts";

// The keys of Hugging Face's configurations that several families share, with its names and defaults.

const rate = z.number().min(0).max(1);
const size = z.int().positive();

/** What training and heads read: masks of SpecAugment, layer drop, the output's dropout, CTC. Every upstream has them. */
export const trainingKeys = {
  initializer_range: z.number().positive().default(0.02),
  final_dropout: rate.default(0.1),
  layerdrop: rate.default(0.1),
  apply_spec_augment: z.boolean().default(true),
  mask_time_prob: rate.default(0.05),
  mask_time_length: size.default(10),
  mask_time_min_masks: z.int().min(0).default(2),
  mask_feature_prob: rate.default(0),
  mask_feature_length: size.default(10),
  mask_feature_min_masks: z.int().min(0).default(0),
  ctc_loss_reduction: z.enum(["sum", "mean"]).default("sum"),
  ctc_zero_infinity: z.boolean().default(false),
  pad_token_id: z.int().min(0).nullable().default(0),
  vocab_size: size.default(32),
};
const trainingConfig = z.object(trainingKeys);
export type TrainingConfig = z.infer<typeof trainingConfig>;

/** The transformer. */
export const encoderKeys = {
  hidden_size: size.default(768),
  num_hidden_layers: size.default(12),
  num_attention_heads: size.default(12),
  intermediate_size: size.default(3072),
  /** Width of an attention head where heads were removed (ours); by default hidden_size / num_attention_heads. */
  head_width: size.nullable().default(null),
  hidden_act: z.string().default("gelu"),
  hidden_dropout: rate.default(0.1),
  activation_dropout: rate.default(0.1),
  attention_dropout: rate.default(0.1),
  feat_proj_dropout: rate.default(0),
  layer_norm_eps: z.number().positive().default(1e-5),
  /** Layer norm before each half of a layer ("large" models) instead of behind it. */
  do_stable_layer_norm: z.boolean().default(false),
  /** Width of a bottleneck behind each layer (transformers' key); absent or null for none. */
  adapter_attn_dim: size.nullable().default(null),
  /** Width of two bottlenecks in each layer, behind attention and behind the feed-forward block (ours). */
  houlsby_adapter_dim: size.nullable().default(null),
};
const encoderConfig = z.object({ ...trainingKeys, ...encoderKeys });
export type EncoderConfig = z.infer<typeof encoderConfig>;

/** The positional convolution. */
export const positionKeys = {
  feat_extract_activation: z.string().default("gelu"),
  num_conv_pos_embeddings: size.default(128),
  num_conv_pos_embedding_groups: size.default(16),
};
const positionConfig = z.object({ ...positionKeys, hidden_size: size });
export type PositionConfig = z.infer<typeof positionConfig>;

/** The convolutions over raw audio. */
export const extractorKeys = {
  feat_extract_norm: z.enum(["group", "layer"]).default("group"),
  feat_extract_activation: z.string().default("gelu"),
  conv_dim: z.array(size).default([512, 512, 512, 512, 512, 512, 512]),
  conv_stride: z.array(size).default([5, 2, 2, 2, 2, 2, 2]),
  conv_kernel: z.array(size).default([10, 3, 3, 3, 3, 2, 2]),
  conv_bias: z.boolean().default(false),
  add_adapter: z.boolean().default(false),
};
const extractorConfig = z.object(extractorKeys);
export type ExtractorConfig = z.infer<typeof extractorConfig>;

/**
 * Reads a configuration: keys it does not know are left in, defaults filled in, sizes that do not fit each other refused.
 * @throws UserError naming the file and key
 */
export function parseConfig<T>(schema: z.ZodType<T>, json: unknown, where: string): T {
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0];
    throw new UserError(
      `${where}: ${path.length > 0 ? `"${path.join(".")}"` : "the configuration"} is not usable: ${message}`,
    );
  }
  const fault = misfit(parsed.data as Partial<EncoderConfig & ExtractorConfig & PositionConfig>);
  if (fault !== undefined) throw new UserError(`${where}: ${fault}`);
  return parsed.data;
}

type AnyConfig = Partial<EncoderConfig & ExtractorConfig & PositionConfig>;

/** What is wrong between keys of one configuration; those that a family does not have are not looked at. */
function misfit(c: AnyConfig): string | undefined {
  const { conv_dim, conv_stride, conv_kernel, hidden_size } = c;
  if (conv_dim && conv_stride && conv_kernel) {
    const counts = [conv_dim.length, conv_stride.length, conv_kernel.length];
    if (new Set(counts).size > 1 || counts[0] === 0)
      return `conv_dim, conv_stride and conv_kernel must have equally many entries, at least one, not ${counts[0]}, ${counts[1]} and ${counts[2]}`;
  }
  for (const key of ["num_attention_heads", "num_conv_pos_embedding_groups"] as const) {
    const parts = c[key];
    const apart = key === "num_attention_heads" && c.head_width != null;
    if (hidden_size !== undefined && parts !== undefined && !apart && hidden_size % parts !== 0)
      return `hidden_size ${hidden_size} is not a multiple of ${key} ${parts}`;
  }
  for (const key of ["hidden_act", "feat_extract_activation"] as const) {
    const name = c[key];
    if (name !== undefined && !Object.hasOwn(ACTIVATIONS, name))
      return `${key} "${name}" is not one of ${Object.keys(ACTIVATIONS).join(", ")}`;
  }
  if (c.add_adapter) return "add_adapter is not supported: its extra convolutions change the frame rate";
  return undefined;
}
