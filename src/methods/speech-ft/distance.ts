import type { Checkpoint } from "../../weights/checkpoint.ts";
import { headOf } from "../../weights/names.ts";
import { isFloat } from "../../weights/tensor-file.ts";

/** How far a part of a model has moved from where it started. */
export interface PartDistance {
  /** "extractor", "projection", "positions", "layer 0", ..., "other". */
  readonly part: string;
  /** Euclidean length of the difference. */
  readonly distance: number;
  /** The same over the length of the start. */
  readonly relative: number;
}

const PARTS: readonly [RegExp, (match: RegExpExecArray) => string][] = [
  [/\.feature_extractor\./, () => "extractor"],
  [/\.feature_projection\./, () => "projection"],
  [/\.pos_conv_embed\./, () => "positions"],
  [/\.encoder\.layers\.(\d+)\./, (match) => `layer ${match[1]}`],
];

/** The part of an encoder that a parameter belongs to. */
export function partOf(name: string): string {
  for (const [pattern, part] of PARTS) {
    const match = pattern.exec(`.${name}`);
    if (match !== null) return part(match);
  }
  return "other";
}

/**
 * The distance of each part of a model's encoder from the model that it was tuned from, tensor by tensor; heads and what only
 * one of them has are left out. Parts stand in the order of the forward pass.
 */
export function weightDistances(base: Checkpoint, tuned: Checkpoint): PartDistance[] {
  const sums = new Map<string, { moved: number; start: number }>();
  for (const [name, { dtype }] of base.weights.infos) {
    if (headOf(name) !== undefined || !isFloat(dtype) || !tuned.weights.infos.has(name)) continue;
    const [a, b] = [base.weights.readF32(name), tuned.weights.readF32(name)];
    const part = partOf(name);
    const sum = sums.get(part) ?? { moved: 0, start: 0 };
    for (let i = 0; i < a.length; i++) {
      sum.moved += (b[i] - a[i]) ** 2;
      sum.start += a[i] ** 2;
    }
    sums.set(part, sum);
  }
  const place = (part: string) => {
    if (part === "other") return Number.POSITIVE_INFINITY;
    const layer = /^layer (\d+)$/.exec(part);
    return layer ? 3 + Number(layer[1]) : ["extractor", "projection", "positions"].indexOf(part);
  };
  return [...sums]
    .sort(([a], [b]) => place(a) - place(b))
    .map(([part, { moved, start }]) => ({
      part,
      distance: Math.sqrt(moved),
      relative: start > 0 ? Math.sqrt(moved / start) : 0,
    }));
}
