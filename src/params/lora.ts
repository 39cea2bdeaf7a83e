import * as ops from "../ops/index.ts";
import { constantInit, type Transform, uniformInit } from "./params.ts";

/** Low-rank adaptation (Hu et al. 2022): W + alpha / rank B A, with W frozen; A and B go by PEFT's names beside the weight. */
export interface LoraSpec {
  readonly rank: number;
  readonly alpha: number;
  /** Last parts of the paths of the layers whose weights are adapted, such as `q_proj`. */
  readonly targets: readonly string[];
}

const WEIGHT = ".weight";

/** The path of the layer whose weight LoRA adapts, or undefined for any other parameter. */
export function loraPath(name: string, { targets }: LoraSpec): string | undefined {
  if (!name.endsWith(WEIGHT) || isLora(name)) return undefined;
  const path = name.slice(0, -WEIGHT.length);
  return targets.includes(path.slice(path.lastIndexOf(".") + 1)) ? path : undefined;
}

export const loraNames = (path: string): { a: string; b: string } => ({
  a: `${path}.lora_A.weight`,
  b: `${path}.lora_B.weight`,
});

export const isLora = (name: string): boolean => /\.lora_[AB]\.weight$/.test(name);

/** A starts as PyTorch's linear layers do and B at 0, so that the adapted model starts as the model itself. */
export const loraTransform =
  (spec: LoraSpec): Transform =>
  (raw, { name, shape }, params) => {
    const path = loraPath(name, spec);
    if (path === undefined || shape.length !== 2) return raw;
    const [out, inner] = shape;
    const { a, b } = loraNames(path);
    const down = params.get(a, [spec.rank, inner], uniformInit(1 / Math.sqrt(inner)));
    const up = params.get(b, [out, spec.rank], constantInit(0));
    return ops.add(raw, ops.mul(ops.matMul(up, down), spec.alpha / spec.rank));
  };

/** W + alpha / rank B A as an array: what a program that knows no LoRA loads. */
export function mergedLora(
  weight: Float32Array,
  a: Float32Array,
  b: Float32Array,
  shape: readonly number[],
  { rank, alpha }: LoraSpec,
): Float32Array {
  const [out, inner] = shape;
  const merged = weight.slice();
  for (let o = 0; o < out; o++)
    for (let r = 0; r < rank; r++) {
      const factor = (b[o * rank + r] * alpha) / rank;
      if (factor !== 0) for (let i = 0; i < inner; i++) merged[o * inner + i] += factor * a[r * inner + i];
    }
  return merged;
}
