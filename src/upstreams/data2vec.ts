import { z } from "zod";
import { ACTIVATIONS } from "../nn/layers.ts";
import * as ops from "../ops/index.ts";
import { constantInit, normalInit, type Params } from "../params/params.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { audioTransformer } from "./audio-transformer.ts";
import { encoderKeys, extractorKeys, parseConfig, positionKeys, trainingKeys } from "./config.ts";
import { sameConv } from "./encoder.ts";
import type { Upstream } from "./upstream.ts";

/**
 * data2vec for audio (Baevski et al. 2022): wav2vec 2.0 with layer norm in the extractor, post-norm layers, and a stack of
 * narrow positional convolutions instead of one wide one.
 */
export const data2vecConfig = z.looseObject({
  model_type: z.literal("data2vec-audio").default("data2vec-audio"),
  ...trainingKeys,
  ...encoderKeys,
  ...extractorKeys,
  ...positionKeys,
  // transformers has no such keys for this family: the layout is fixed.
  feat_extract_norm: z.literal("layer").default("layer"),
  do_stable_layer_norm: z.literal(false).default(false),
  /** Here the number of convolutions; their width is `conv_pos_kernel_size`. */
  num_conv_pos_embeddings: z.int().positive().default(5),
  conv_pos_kernel_size: z.int().positive().default(19),
});
export type Data2VecConfig = z.infer<typeof data2vecConfig>;

/** Reads a Hugging Face configuration. @throws UserError naming the file and key that do not fit. */
export const parseData2VecConfig = (json: unknown, where: string): Data2VecConfig =>
  parseConfig(data2vecConfig, json, where);

export function data2vec(config: Data2VecConfig): Upstream {
  return audioTransformer(config, {
    modelType: "data2vec-audio",
    prefix: "data2vec_audio",
    parts: () => ({ positions: (x, p) => stackedPositions(x, p, config) }),
  });
}

/**
 * Convolution, layer norm without parameters and activation, several times over. Only the first is given zeros for padding:
 * the later ones see what became of them there, so the last valid frames know a little of how long the padding is.
 */
function stackedPositions(x: Tensor, p: Params, config: Data2VecConfig): Tensor {
  const { hidden_size: dim, conv_pos_kernel_size: kernel, num_conv_pos_embedding_groups: groups } = config;
  const [one, zero] = [1, 0].map((value) => ops.constant([dim], new Float32Array(dim).fill(value)));
  const perGroup = dim / groups;
  let h = x;
  for (let i = 0; i < config.num_conv_pos_embeddings; i++) {
    const q = p.at(`layers.${i}.conv`);
    const weight = q.get("weight", [dim, perGroup, kernel], normalInit(Math.sqrt(2 / (perGroup * kernel))));
    const y = sameConv(ops.transpose(h, [0, 2, 1]), weight, q.get("bias", [dim], constantInit(0)), groups);
    const normal = ops.layerNorm(ops.transpose(y, [0, 2, 1]), one, zero, 1e-5);
    h = ACTIVATIONS[config.feat_extract_activation](normal);
  }
  return h;
}
