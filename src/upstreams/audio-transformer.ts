import { type Params, uniformInit } from "../params/params.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { EncoderConfig, ExtractorConfig } from "./config.ts";
import { type EncoderParts, encoder } from "./encoder.ts";
import { extractorFrames, featureExtractor, featureProjection } from "./extractor.ts";
import { hide } from "./hide.ts";
import type { Upstream } from "./upstream.ts";

/** What a family of audio transformers has of its own. */
export interface Family {
  readonly modelType: string;
  readonly prefix: string;
  /** The encoder's parts, which may ask for parameters shared by all layers. */
  parts(p: Params, features: Tensor): EncoderParts;
}

/** The form that wav2vec 2.0 gave to all its successors: convolutions over raw audio, then a transformer. */
export function audioTransformer(
  config: EncoderConfig & ExtractorConfig & { readonly feat_proj_layer_norm?: boolean },
  { modelType, prefix, parts }: Family,
): Upstream {
  return {
    modelType,
    prefix,
    settings: config,
    hiddenSize: config.hidden_size,
    layers: config.num_hidden_layers,
    sampleRate: 16_000,
    hop: config.conv_stride.reduce((a, b) => a * b, 1),
    maskVector: true,
    padSensitive: config.feat_extract_norm === "group",
    frames: (samples) => extractorFrames(samples, config),
    forward(input, p) {
      const features = featureExtractor(input.audio, p.at("feature_extractor"), config);
      const { projected, normal } = featureProjection(
        features,
        p.at("feature_projection"),
        config,
        input.training,
      );
      // The vector is part of the checkpoint whenever the configuration masks at all, used in this pass or not.
      const masks = config.mask_time_prob > 0 || config.mask_feature_prob > 0;
      const vector = masks ? p.get("masked_spec_embed", [config.hidden_size], uniformInit(1)) : undefined;
      const hidden = hide(projected, input, vector);
      const encoded = encoder(hidden, p.at("encoder"), config, input, parts(p, hidden));
      return { ...encoded, extracted: features, normalised: normal };
    },
  };
}
