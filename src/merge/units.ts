import type { Checkpoint } from "../weights/checkpoint.ts";
import type { MergeLine } from "./models.ts";
import type { MergeSpec } from "./spec.ts";

/**
 * What is merged at once: one tensor, or the two of a weight-normalised weight w = g v / |v| where the effective weight is
 * meant. Interpolating g and v separately is not interpolating w: the direction of a mean of v's depends on their
 * lengths, which mean nothing.
 */
export interface Unit {
  readonly name: string;
  readonly size: number;
  /** The tensors that it becomes. */
  readonly tensors: readonly string[];
  /** Its values in a model; `into` has `size` elements. */
  read(model: Checkpoint, into: Float32Array): void;
  /** One of its tensors from the merged values; `into` has that tensor's elements. */
  write(tensor: string, merged: Float32Array, into: Float32Array): void;
}

const LENGTHS = /\.parametrizations\.weight\.original0$/;

/** The units of the tensors that are merged, in the order of the base's file. */
export function unitsOf(base: Checkpoint, lines: readonly MergeLine[], { weightNorm }: MergeSpec): Unit[] {
  const merged = lines.filter(({ action }) => action === "merged");
  const units: Unit[] = [];
  const inPairs = new Set<string>();
  if (weightNorm === "effective")
    for (const { name } of merged) {
      if (!LENGTHS.test(name)) continue;
      const directions = name.replace(/0$/, "1");
      units.push(effectiveWeight(base, name, directions));
      inPairs.add(name).add(directions);
    }
  for (const { name, size } of merged) {
    if (inPairs.has(name)) continue;
    units.push({
      name,
      size,
      tensors: [name],
      read: ({ weights }, into) => void weights.readF32(name, into),
      write: (_, values, into) => into.set(values),
    });
  }
  return units;
}

/** w = g v / |v|, the lengths taken over all axes but the one that g has; merged, v is w and g its lengths. */
function effectiveWeight(base: Checkpoint, lengths: string, directions: string): Unit {
  const { shape } = base.weights.infos.get(directions)!;
  const kept = base.weights.infos.get(lengths)!.shape;
  const size = shape.reduce((a, b) => a * b, 1);
  const groups = kept.reduce((a, b) => a * b, 1);
  const axis = kept.findIndex((n) => n > 1);
  // Elements of one length lie `stride` apart; with a single length all belong to it.
  const stride = axis < 0 ? size : shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const groupOf = (i: number) => Math.floor(i / stride) % groups;
  const norms = (v: Float32Array) => {
    const squares = new Float64Array(groups);
    for (let i = 0; i < size; i++) squares[groupOf(i)] += v[i] * v[i];
    return squares.map(Math.sqrt);
  };
  return {
    name: directions.replace(/\.parametrizations\.weight\.original1$/, ".weight"),
    size,
    tensors: [lengths, directions],
    read({ weights }, into) {
      weights.readF32(directions, into);
      const g = weights.readF32(lengths);
      const factors = norms(into).map((norm, i) => (norm > 0 ? g[i] / norm : 0));
      for (let i = 0; i < size; i++) into[i] *= factors[groupOf(i)];
    },
    write(tensor, merged, into) {
      into.set(tensor === directions ? merged : norms(merged));
    },
  };
}
