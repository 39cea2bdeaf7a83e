import { createHash } from "node:crypto";
import { statSync } from "node:fs";
import { UserError } from "../errors.ts";
import { decodeMask, encodeMask, magnitudeOverlap } from "../params/mask-code.ts";
import {
  openSafetensors,
  type TensorEntry,
  type TensorFile,
  writeSafetensors,
} from "../weights/safetensors.ts";
import { backboneHash, countBits, type StoredMasks } from "./mask-file.ts";
import type { MaskBits } from "./masks.ts";
import type { ParameterStore } from "./store.ts";

/**
 * A mask pack: one task over a backbone that others share, in one safetensors file. It holds the masks (entropy-coded, or as plain
 * bits where that is shorter), what trained beside the scores (heads, the mask embedding) in float32, the small files that say
 * how it was made, and the hash of the backbone, over which alone it means anything.
 */
export const PACK_ENDING = ".pack";

/** Whether a path names a pack. */
export const isPack = (path: string): boolean => path.endsWith(PACK_ENDING);

interface StoredMask {
  name: string;
  shape: number[];
  zeros: number;
  coding: "rans" | "raw";
  /** Share of the zeros that magnitude pruning would choose too. */
  overlap: number;
}

interface Meta {
  version: 1;
  name: string;
  backbone: string;
  /** SHA-256 of all masks' bits. */
  bits: string;
  masks: StoredMask[];
  files: Record<string, string>;
}

export interface PackReport {
  readonly file: string;
  readonly name: string;
  readonly backbone: string;
  /** Bytes of the file, of its coded masks, and of the masks as plain bits. */
  readonly bytes: number;
  readonly maskBytes: number;
  readonly rawBytes: number;
  readonly weights: number;
  readonly bitsPerWeight: number;
  readonly sparsity: number;
  /** Share of all zeros that are zeros of the magnitude masks, too. */
  readonly overlap: number;
  readonly matrices: readonly { name: string; sparsity: number; overlap: number; bitsPerWeight: number }[];
}

const digest = (masks: readonly MaskBits[]) => {
  const hash = createHash("sha256");
  for (const { bits } of masks) hash.update(bits);
  return hash.digest("hex");
};

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** What a pack is made of. */
export interface PackContent {
  readonly name: string;
  readonly masks: StoredMasks;
  /** The backbone's weights, as no mask has them. */
  readonly weights: (name: string) => Float32Array;
  /** What trained beside the scores. */
  readonly own: readonly TensorEntry[];
  readonly files: Readonly<Record<string, string>>;
}

/** Writes a pack. */
export function writePack(
  out: string,
  { name, masks: stored, weights, own, files }: PackContent,
): PackReport {
  const entries: TensorEntry[] = [];
  const masks: StoredMask[] = [];
  const matrices: PackReport["matrices"][number][] = [];
  for (const { name: matrix, shape, bits, kept } of stored.masks) {
    const values = weights(matrix);
    const zeros = values.length - kept;
    const code = encodeMask(bits, values, zeros);
    const coding = code.length < bits.length ? "rans" : "raw";
    const data = coding === "rans" ? code : bits;
    const overlap = magnitudeOverlap(bits, values, zeros);
    entries.push({ name: `mask:${matrix}`, dtype: "U8", shape: [data.length], data });
    masks.push({ name: matrix, shape: [...shape], zeros, coding, overlap });
    matrices.push({
      name: matrix,
      sparsity: zeros / values.length,
      overlap,
      bitsPerWeight: (8 * data.length) / values.length,
    });
  }
  const maskBytes = entries.reduce((sum, { shape }) => sum + shape[0], 0);
  const { backbone } = stored;
  const meta: Meta = { version: 1, name, backbone, bits: digest(stored.masks), masks, files: { ...files } };
  writeSafetensors(out, [...entries, ...own], { format: "voxsmith-pack", pack: JSON.stringify(meta) });
  const total = stored.masks.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  const zeros = masks.reduce((sum, mask) => sum + mask.zeros, 0);
  return {
    ...{ file: out, name, backbone, bytes: statSync(out).size, maskBytes },
    rawBytes: stored.masks.reduce((sum, { bits }) => sum + bits.length, 0),
    weights: total,
    bitsPerWeight: (8 * maskBytes) / total,
    sparsity: zeros / total,
    overlap: zeros === 0 ? 1 : masks.reduce((sum, mask) => sum + mask.overlap * mask.zeros, 0) / zeros,
    matrices,
  };
}

function metaOf(path: string, { metadata: { format, pack } }: TensorFile): Meta {
  if (format !== "voxsmith-pack" || pack === undefined)
    throw new UserError(`${path}: is no mask pack; \`voxsmith pack RUN\` makes one`);
  const meta: Meta = JSON.parse(pack);
  if (meta.version !== 1)
    throw new UserError(`${path}: is a pack of version ${meta.version}; this program reads version 1`);
  return meta;
}

/** The small files that a pack carries along. @throws UserError where it is none */
export function packedFiles(path: string): Readonly<Record<string, string>> {
  const file = openSafetensors(path);
  try {
    return metaOf(path, file).files;
  } finally {
    file.close();
  }
}

/** A pack as read from its file; its masks are still coded. */
export interface PackFile {
  readonly path: string;
  readonly name: string;
  readonly backbone: string;
  /** What trained beside the scores. */
  readonly own: ReadonlyMap<string, { readonly shape: readonly number[]; readonly data: Float32Array }>;
  readonly files: Readonly<Record<string, string>>;
  /** The masks' bits over the backbone's weights. @throws UserError where the pack is damaged or the weights are others */
  masks(weights: (name: string) => Float32Array): MaskBits[];
}

/** Reads a pack. @throws UserError naming the file where it is none */
export function readPackFile(path: string): PackFile {
  const file = openSafetensors(path);
  try {
    const meta = metaOf(path, file);
    const coded = new Map(
      meta.masks.map(({ name }) => [name, file.readNumbers(`mask:${name}`).data as Uint8Array]),
    );
    const own = new Map(
      [...file.infos]
        .filter(([name]) => !name.startsWith("mask:"))
        .map(([name, { shape }]) => [name, { shape, data: file.readF32(name) }]),
    );
    const masks = (weights: (name: string) => Float32Array) => {
      const decoded = meta.masks.map(({ name, shape, zeros, coding }): MaskBits => {
        const bits =
          coding === "raw" ? coded.get(name)! : decodedOr(path, name, coded.get(name)!, weights(name), zeros);
        return { name, shape, bits, kept: countBits(bits) };
      });
      if (digest(decoded) !== meta.bits)
        throw new UserError(`${path}: its masks are damaged (their checksum differs)`);
      return decoded;
    };
    const { name, backbone, files } = meta;
    return { path, name, backbone, own, files, masks };
  } finally {
    file.close();
  }
}

function decodedOr(
  path: string,
  name: string,
  code: Uint8Array,
  weights: Float32Array,
  zeros: number,
): Uint8Array {
  try {
    return decodeMask(code, weights, zeros);
  } catch (error) {
    throw new UserError(`${path}: the mask of "${name}" is damaged: ${(error as Error).message}`);
  }
}

/** Refuses a backbone over which masks mean nothing; `own` names what of the upstream is the task's. */
export function checkBackbone(
  path: string,
  wanted: string,
  own: readonly string[],
  store: ParameterStore,
  prefix: string,
): void {
  const found = backboneHash(
    store,
    prefix,
    () => undefined,
    (name) => own.includes(name),
  );
  if (found !== wanted)
    throw new UserError(
      `${path}: belongs to another backbone (its masks are over weights with hash ${wanted.slice(0, 12)}, these have ${found.slice(0, 12)}); name the right one with --backbone`,
    );
}
