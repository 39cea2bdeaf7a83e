import { linear, maskedMean, type Training } from "../nn/layers.ts";
import { lstmLayers } from "../nn/recurrent.ts";
import * as ops from "../ops/index.ts";
import { constantInit, normalInit, type Params } from "../params/params.ts";
import type { Shape } from "../tensor/dims.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { HeadSpec } from "./recipe-schema.ts";

/** What a head is given and what it should make of it. */
export interface HeadInput {
  /** [batch, frames, dim] */
  readonly features: Tensor;
  /** bool [batch, frames] */
  readonly valid: Tensor;
  readonly spec: HeadSpec;
  readonly pool: "mean" | "none";
  readonly size: number;
  readonly training?: Training;
}

/** A head's scores: [batch, size] where it pools, [batch, frames, size] where it does not. */
export function head(input: HeadInput, p: Params): Tensor {
  const { valid, pool, size } = input;
  const x = beforePool(input, p);
  const pooled = pool === "mean" ? maskedMean(x, valid) : x;
  // Hugging Face's CTC heads start so; classifiers keep PyTorch's default.
  return linear(pooled, p, size, p.path === "lm_head" ? normalInit(0.02) : undefined);
}

function beforePool({ features, valid, spec, training }: HeadInput, p: Params): Tensor {
  if (spec === "linear") return features;
  return "lstm" in spec
    ? stackedLstm(features, valid, spec.lstm, p, training)
    : linear(features, p.at("projection"), spec.projection);
}

type LstmSpec = Extract<HeadSpec, { lstm: unknown }>["lstm"];

function stackedLstm(x: Tensor, valid: Tensor, spec: LstmSpec, p: Params, training?: Training): Tensor {
  const narrow = spec.projection > 0 ? linear(x, p.at("projection"), spec.projection) : x;
  return lstmLayers(narrow, valid, spec, p.at("lstm"), training)[spec.layers - 1];
}

/**
 * A learned convex sum of all hidden states, each normalised over its channels first so that none counts more only
 * for being louder (the featurizer of SUPERB, Yang et al. 2021).
 */
export function weightedLayers(hidden: readonly Tensor[], p: Params): Tensor {
  const dim = hidden[0].shape[2] as number;
  const weights = ops.softmax(p.get("layer_weights", [hidden.length], constantInit(0)));
  const [one, zero] = [
    ops.constant([dim], new Float32Array(dim).fill(1)),
    ops.constant([dim], new Float32Array(dim)),
  ];
  const shape: Shape = [1, 1, 1];
  return hidden
    .map((h, i) => ops.mul(ops.layerNorm(h, one, zero), ops.reshape(ops.slice(weights, 0, i, i + 1), shape)))
    .reduce((a, b) => ops.add(a, b));
}
