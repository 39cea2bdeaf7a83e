import { z } from "zod";
import { audioTransformer } from "./audio-transformer.ts";
import { encoderKeys, extractorKeys, parseConfig, positionKeys, trainingKeys } from "./config.ts";
import { convolutionalPositions } from "./encoder.ts";
import type { Upstream } from "./upstream.ts";

/**
 * HuBERT (Hsu et al. 2021): wav2vec 2.0's network, pre-trained to name the cluster of each hidden frame. Base has group
 * norm and post-norm layers; large and x-large have layer norm and pre-norm layers. Some models (distilled ones)
 * project features without normalising them first.
 */
export const hubertConfig = z.looseObject({
  model_type: z.literal("hubert").default("hubert"),
  ...trainingKeys,
  ...encoderKeys,
  ...extractorKeys,
  ...positionKeys,
  feat_proj_layer_norm: z.boolean().default(true),
  conv_pos_batch_norm: z
    .literal(false, { error: "batch norm of the positional convolution is not supported; it must be false" })
    .default(false),
});
export type HubertConfig = z.infer<typeof hubertConfig>;

/** Reads a Hugging Face configuration. @throws UserError naming the file and key that do not fit. */
export const parseHubertConfig = (json: unknown, where: string): HubertConfig =>
  parseConfig(hubertConfig, json, where);

export function hubert(config: HubertConfig): Upstream {
  return audioTransformer(config, {
    modelType: "hubert",
    prefix: "hubert",
    parts: () => ({ positions: (x, p) => convolutionalPositions(x, p, config) }),
  });
}
