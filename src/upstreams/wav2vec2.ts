import { z } from "zod";
import { audioTransformer } from "./audio-transformer.ts";
import { encoderKeys, extractorKeys, parseConfig, positionKeys, trainingKeys } from "./config.ts";
import { convolutionalPositions } from "./encoder.ts";
import type { Upstream } from "./upstream.ts";

/**
 * wav2vec 2.0 (Baevski et al. 2020): a convolutional extractor over raw audio and a transformer with a convolutional
 * position embedding. Both layouts: group norm and post-norm ("base"), layer norm and pre-norm ("large"; XLSR-53 and
 * XLS-R are the same with more languages and layers). Keys, defaults and parameter names are Hugging Face's.
 */
export const wav2vec2Config = z.looseObject({
  model_type: z.literal("wav2vec2").default("wav2vec2"),
  ...trainingKeys,
  ...encoderKeys,
  ...extractorKeys,
  ...positionKeys,
});
export type Wav2Vec2Config = z.infer<typeof wav2vec2Config>;

/** Reads a Hugging Face configuration. @throws UserError naming the file and key that do not fit. */
export const parseWav2Vec2Config = (json: unknown, where: string): Wav2Vec2Config =>
  parseConfig(wav2vec2Config, json, where);

export function wav2vec2(config: Wav2Vec2Config): Upstream {
  return audioTransformer(config, {
    modelType: "wav2vec2",
    prefix: "wav2vec2",
    parts: () => ({ positions: (x, p) => convolutionalPositions(x, p, config) }),
  });
}
