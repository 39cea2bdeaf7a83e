import { ACTIVATIONS, dropout, layerNorm, linear, type Training } from "../nn/layers.ts";
import * as ops from "../ops/index.ts";
import { constantInit, normalInit, type Params, uniformInit } from "../params/params.ts";
import type { Dim } from "../tensor/dims.ts";
import { region, type Tensor } from "../tensor/tensor.ts";
import type { EncoderConfig, ExtractorConfig } from "./config.ts";

/** Frames that the extractor leaves of `samples` samples. */
export function extractorFrames(
  samples: Dim,
  { conv_kernel, conv_stride }: Pick<ExtractorConfig, "conv_kernel" | "conv_stride">,
): Dim {
  return conv_kernel.reduce<Dim>(
    (size, kernel, i) =>
      ops.convFrames(size, kernel, { stride: conv_stride[i], before: 0, after: 0, dilation: 1, groups: 1 }),
    samples,
  );
}

/** wav2vec 2.0's convolutions over raw audio: [batch, samples] -> [batch, frames, conv_dim] (Baevski et al. 2020, section 2). */
export function featureExtractor(audio: Tensor, p: Params, config: ExtractorConfig): Tensor {
  const activation = ACTIVATIONS[config.feat_extract_activation];
  let x = ops.reshape(audio, [audio.shape[0], 1, audio.shape[1]]);
  for (const [i, dim] of config.conv_dim.entries())
    x = region(`feature_extractor.${i}`, () => {
      const q = p.at(`conv_layers.${i}`);
      const [channels, kernel] = [x.shape[1] as number, config.conv_kernel[i]];
      const fan = channels * kernel;
      const weight = q.at("conv").get("weight", [dim, channels, kernel], normalInit(Math.sqrt(2 / fan)));
      const bias = config.conv_bias
        ? q.at("conv").get("bias", [dim], uniformInit(1 / Math.sqrt(fan)))
        : undefined;
      return activation(
        normalise(ops.conv1d(x, weight, { stride: config.conv_stride[i], bias }), i, q, config),
      );
    });
  return ops.transpose(x, [0, 2, 1]);
}

/** Group norm after the first convolution only ("group"), or layer norm over channels after each ("layer"). */
function normalise(x: Tensor, layer: number, p: Params, { feat_extract_norm }: ExtractorConfig): Tensor {
  if (feat_extract_norm === "layer") {
    // PyTorch's default epsilon: the configuration's layer_norm_eps does not reach the extractor.
    return ops.transpose(layerNorm(ops.transpose(x, [0, 2, 1]), p.at("layer_norm"), 1e-5), [0, 2, 1]);
  }
  if (layer > 0) return x;
  const dim = x.shape[1] as number;
  const q = p.at("layer_norm");
  return ops.instanceNorm(
    x,
    q.get("weight", [dim], constantInit(1)),
    q.get("bias", [dim], constantInit(0)),
    1e-5,
  );
}

/**
 * Features as the transformer takes them, [batch, frames, conv_dim] -> `projected` [batch, frames, hidden_size], and
 * `normal`, what was projected: wav2vec 2.0 quantises that.
 */
export function featureProjection(
  x: Tensor,
  p: Params,
  config: EncoderConfig & { readonly feat_proj_layer_norm?: boolean },
  training?: Training,
): { projected: Tensor; normal: Tensor } {
  const normal =
    config.feat_proj_layer_norm === false ? x : layerNorm(x, p.at("layer_norm"), config.layer_norm_eps);
  const projected = linear(normal, p.at("projection"), config.hidden_size);
  return { projected: dropout(projected, config.feat_proj_dropout, training), normal };
}
