import { createHash } from "node:crypto";
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { openSafetensors, writeSafetensors } from "../weights/safetensors.ts";
import { bytesOf } from "../weights/tensor-file.ts";
import type { MaskBits, WeightMasks } from "./masks.ts";
import type { ParameterStore } from "./store.ts";

/**
 * The file of a run that holds its masks: for each matrix its bits (U8), the sums of its scores' magnitudes by output and by input
 * (`NAME.outputs`, `NAME.inputs`, F32), and which backbone they are over.
 */
export const MASKS = "masks.safetensors";

/**
 * SHA-256 over the frozen parameters of an upstream: names in order, shapes and float32 values. Masks mean something over
 * exactly these.
 */
export function backboneHash(
  store: ParameterStore,
  prefix: string,
  weights: (name: string) => Float32Array | undefined,
  ownOfTask: (name: string) => boolean,
): string {
  const hash = createHash("sha256");
  for (const name of [...store.specs.keys()].sort()) {
    if (!name.startsWith(`${prefix}.`) || ownOfTask(name)) continue;
    hash.update(`${name} ${store.specs.get(name)!.shape.join("x")}\n`);
    hash.update(bytesOf(weights(name) ?? store.array(name)));
  }
  return hash.digest("hex");
}

/** The backbone of a run whose masks are at hand: all of the upstream but what trains beside the scores. */
export function backboneOf(masks: WeightMasks, store: ParameterStore, prefix: string): string {
  const masked = new Set(masks.matrices.map(({ name }) => name));
  return backboneHash(
    store,
    prefix,
    (name) => (masked.has(name) ? masks.weights(name) : undefined),
    (name) => store.isTrained(name) && !masked.has(name),
  );
}

export function writeMasks(folder: string, masks: WeightMasks, store: ParameterStore, prefix: string): void {
  const bits = masks.bits();
  const own = [...store.specs.keys()].filter(
    (name) => store.isTrained(name) && !masks.matrices.some((matrix) => matrix.name === name),
  );
  writeSafetensors(
    join(folder, MASKS),
    bits.flatMap(({ name, bits, shape }) => {
      const { outputs, inputs } = marginals(store.scores(name), shape);
      return [
        { name, dtype: "U8" as const, shape: [bits.length], data: bits },
        { name: `${name}.outputs`, dtype: "F32" as const, shape: [outputs.length], data: outputs },
        { name: `${name}.inputs`, dtype: "F32" as const, shape: [inputs.length], data: inputs },
      ];
    }),
    {
      format: "voxsmith-masks",
      backbone: backboneOf(masks, store, prefix),
      shapes: JSON.stringify(Object.fromEntries(bits.map(({ name, shape }) => [name, shape]))),
      own: JSON.stringify(own),
    },
  );
}

/** Sums of magnitudes over the rows and the columns of a matrix [outputs, inputs]. */
export interface Marginals {
  readonly outputs: Float32Array;
  readonly inputs: Float32Array;
}

export function marginals(values: Float32Array, shape: readonly number[]): Marginals {
  const [rows, columns] = shape;
  const sums = { outputs: new Float64Array(rows), inputs: new Float64Array(columns) };
  for (let o = 0; o < rows; o++)
    for (let i = 0; i < columns; i++) {
      const magnitude = Math.abs(values[o * columns + i]);
      sums.outputs[o] += magnitude;
      sums.inputs[i] += magnitude;
    }
  return { outputs: Float32Array.from(sums.outputs), inputs: Float32Array.from(sums.inputs) };
}

/** What the scores of a run's masked matrices add up to. @throws UserError where its file is none of masks, or of an older version */
export function readMarginals(path: string): Map<string, Marginals> {
  const file = openSafetensors(path);
  try {
    const names = Object.keys(JSON.parse(file.metadata.shapes ?? "{}"));
    const lacking = names.find((name) => !file.infos.has(`${name}.outputs`));
    if (names.length === 0 || lacking !== undefined)
      throw new UserError(`${path}: holds no sums of scores; train the run anew to have them`);
    return new Map(
      names.map((name) => [
        name,
        { outputs: file.readF32(`${name}.outputs`), inputs: file.readF32(`${name}.inputs`) },
      ]),
    );
  } finally {
    file.close();
  }
}

export interface StoredMasks {
  readonly path: string;
  readonly backbone: string;
  readonly masks: readonly MaskBits[];
  /** Parameters that trained beside the scores. */
  readonly own: readonly string[];
}

/** @throws UserError naming the file where it is no file of masks */
export function readMasks(path: string): StoredMasks {
  const file = openSafetensors(path);
  try {
    const { backbone, shapes, own } = file.metadata;
    if (backbone === undefined || shapes === undefined || own === undefined)
      throw new UserError(`${path}: holds no masks (its metadata lacks \`backbone\`, \`shapes\` or \`own\`)`);
    const of: Record<string, number[]> = JSON.parse(shapes);
    const masks = Object.entries(of).map(([name, shape]): MaskBits => {
      const bits = file.readNumbers(name).data as Uint8Array;
      const length = shape.reduce((a, b) => a * b, 1);
      if (bits.length !== Math.ceil(length / 8))
        throw new UserError(`${path}: "${name}" has ${bits.length} bytes for ${length} weights`);
      return { name, shape, bits, kept: countBits(bits) };
    });
    return { path, backbone, masks, own: JSON.parse(own) };
  } finally {
    file.close();
  }
}

/** How many bits are 1. */
export function countBits(bytes: Uint8Array): number {
  let count = 0;
  for (const byte of bytes) count += ONES[byte];
  return count;
}

const ONES = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll("0", "").length);
