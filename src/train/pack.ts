import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { decodeMask, encodeMask, magnitudeOverlap } from "../params/mask-code.ts";
import { writeAtomically } from "../weights/file.ts";
import { openWeights } from "../weights/model-folder.ts";
import {
  openSafetensors,
  type TensorEntry,
  type TensorFile,
  writeSafetensors,
} from "../weights/safetensors.ts";
import { exportModel } from "./export.ts";
import { backboneHash, countBits, MASKS, readMasks } from "./mask-file.ts";
import type { MaskBits } from "./masks.ts";
import { loadUpstream, type Model } from "./model.ts";
import type { OpenedModel } from "./open-model.ts";
import { parseRecipe, type Recipe } from "./recipe.ts";
import { readRun } from "./run-folder.ts";
import type { ParameterStore } from "./store.ts";
import { type Target, targetFromJson } from "./targets.ts";
import { storeOf, taskOf } from "./trained-task.ts";

/**
 * A mask pack: one task over a backbone that others share, in one safetensors file. It holds the masks (entropy-coded, or as plain
 * bits where that is shorter), what trained beside the scores (heads, the mask embedding) in float32, the run's recipe and the
 * other small files of its folder, and the hash of the backbone, over which alone it means anything.
 */
export const PACK_ENDING = ".pack";

/** Small files of a run's folder that a pack carries along. */
const FILES = [
  ...["recipe.yaml", "config.json", "targets.json", "preprocessor_config.json", "run.json"],
  ...["lineage.json", "vocab.json", "tokenizer_config.json"],
  // What assessing with a severity model rests on.
  ...["calibration.json", "reference.json"],
];

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
/** Whether a path names a pack. */
export const isPack = (path: string): boolean => path.endsWith(PACK_ENDING);

/** The upstream of a recipe before any mask: loaded from `backbone`, from where the recipe says, or drawn from its seed. */
export function backboneStore(recipe: Recipe, task: OpenedModel["task"], backbone?: string): ParameterStore {
  const store = storeOf(task);
  const prefix = `${task.model.upstream.prefix}.`;
  const source = backbone ?? recipe.upstream.model;
  if (source === undefined)
    store.initialise(
      recipe.seed,
      [...store.specs.keys()].filter((name) => name.startsWith(prefix)),
    );
  else loadUpstream({ ...task.model, source } satisfies Model, store);
  return store;
}

/** Refuses a backbone over which masks mean nothing. */
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

/**
 * Packs the masks of a finished run.
 * @throws UserError where the folder holds no finished run with masks, or the backbone is another one
 */
export function packRun(folder: string, out: string, backbone?: string): PackReport {
  const info = readRun(folder);
  if (info === undefined) throw new UserError(`${folder}: holds no run (there is no run.json)`);
  if (info.status !== "finished")
    throw new UserError(`${folder}: holds a run that is ${info.status}, not finished`);
  if (!existsSync(join(folder, MASKS)))
    throw new UserError(`${folder}: has no ${MASKS}; only runs with a \`plan.mask\` can be packed`);
  const stored = readMasks(join(folder, MASKS));
  const files = Object.fromEntries(
    FILES.filter((name) => existsSync(join(folder, name))).map((name) => [
      name,
      readFileSync(join(folder, name), "utf8"),
    ]),
  );
  const { recipe, task } = describedBy(files, folder);
  const store = backboneStore(recipe, task, backbone);
  const { prefix } = task.model.upstream;
  checkBackbone(stored.path, stored.backbone, stored.own, store, prefix);

  const entries: TensorEntry[] = [];
  const masks: StoredMask[] = [];
  const report: PackReport["matrices"][number][] = [];
  for (const { name, shape, bits, kept } of stored.masks) {
    const weights = store.array(name);
    const zeros = weights.length - kept;
    const code = encodeMask(bits, weights, zeros);
    const coding = code.length < bits.length ? "rans" : "raw";
    const data = coding === "rans" ? code : bits;
    const overlap = magnitudeOverlap(bits, weights, zeros);
    entries.push({ name: `mask:${name}`, dtype: "U8", shape: [data.length], data });
    masks.push({ name, shape: [...shape], zeros, coding, overlap });
    report.push({
      name,
      sparsity: zeros / weights.length,
      overlap,
      bitsPerWeight: (8 * data.length) / weights.length,
    });
  }
  const maskBytes = entries.reduce((sum, { shape }) => sum + shape[0], 0);
  const trained = [openWeights(join(folder, "model.safetensors"))];
  if (existsSync(join(folder, "heads.safetensors")))
    trained.push(openSafetensors(join(folder, "heads.safetensors")));
  for (const name of stored.own) {
    const file = trained.find(({ infos }) => infos.has(name));
    if (file === undefined) throw new UserError(`${folder}: its weights lack "${name}"`);
    entries.push({ name, dtype: "F32", shape: file.infos.get(name)!.shape, data: file.readF32(name) });
  }
  for (const file of trained) file.close();
  const meta: Meta = {
    version: 1,
    name: info.name,
    backbone: stored.backbone,
    bits: digest(stored.masks),
    masks,
    files,
  };
  writeSafetensors(out, entries, { format: "voxsmith-pack", pack: JSON.stringify(meta) });
  const total = stored.masks.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  const zeros = masks.reduce((sum, mask) => sum + mask.zeros, 0);
  return {
    file: out,
    name: info.name,
    backbone: stored.backbone,
    bytes: statSync(out).size,
    maskBytes,
    rawBytes: stored.masks.reduce((sum, { bits }) => sum + bits.length, 0),
    weights: total,
    bitsPerWeight: (8 * maskBytes) / total,
    sparsity: zeros / total,
    overlap: zeros === 0 ? 1 : masks.reduce((sum, mask) => sum + mask.overlap * mask.zeros, 0) / zeros,
    matrices: report,
  };
}

/** The text of a small file of a run, from its folder or from its pack; undefined where it has none of that name. */
export function runFile(path: string, name: string): string | undefined {
  if (!isPack(path)) {
    const file = join(path, name);
    return existsSync(file) ? readFileSync(file, "utf8") : undefined;
  }
  const file = openSafetensors(path);
  try {
    return metaOf(path, file).files[name];
  } finally {
    file.close();
  }
}

function metaOf(path: string, { metadata: { format, pack } }: TensorFile): Meta {
  if (format !== "voxsmith-pack" || pack === undefined)
    throw new UserError(`${path}: is no mask pack; \`voxsmith pack RUN\` makes one`);
  const meta: Meta = JSON.parse(pack);
  if (meta.version !== 1)
    throw new UserError(`${path}: is a pack of version ${meta.version}; this program reads version 1`);
  return meta;
}

/** A pack as read from its file; its masks are still coded. */
export interface Pack {
  readonly path: string;
  readonly name: string;
  readonly backbone: string;
  readonly recipe: Recipe;
  readonly task: OpenedModel["task"];
  readonly targets: ReadonlyMap<string, Target>;
  /** What trained beside the scores. */
  readonly own: ReadonlyMap<string, { readonly shape: readonly number[]; readonly data: Float32Array }>;
  readonly files: Readonly<Record<string, string>>;
  /** The masks' bits over the backbone's weights. @throws UserError where the pack is damaged or the weights are others */
  masks(weights: (name: string) => Float32Array): MaskBits[];
}

/** Reads a pack. @throws UserError naming the file where it is none */
export function readPack(path: string): Pack {
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
    const { recipe, task, targets } = describedBy(meta.files, path);
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
    return {
      path,
      name: meta.name,
      backbone: meta.backbone,
      recipe,
      task,
      targets,
      own,
      files: meta.files,
      masks,
    };
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

/** The recipe, task and targets that the small files of a run say. */
function describedBy(files: Readonly<Record<string, string>>, where: string) {
  const text = (name: string) => {
    if (files[name] === undefined) throw new UserError(`${where}: has no ${name}`);
    return files[name];
  };
  const recipe = parseRecipe(text("recipe.yaml"), `${where}: recipe.yaml`);
  const json: Record<string, Parameters<typeof targetFromJson>[0]> = JSON.parse(text("targets.json"));
  const targets = new Map(Object.entries(json).map(([name, target]) => [name, targetFromJson(target)]));
  const config: Record<string, unknown> = JSON.parse(text("config.json"));
  // The configuration as it was trained: the pre-trained model need not be there to know the task.
  const standing = { ...recipe, upstream: { ...recipe.upstream, model: undefined, config } };
  return { recipe, targets, task: taskOf(standing, targets, where) };
}

/**
 * Opens a pack as a model: the backbone from `backbone` or from where the run had it, masked, with the task's heads.
 * @throws UserError where the backbone is another one
 */
export function openPack(path: string, backbone?: string): OpenedModel {
  const pack = readPack(path);
  const { recipe, task } = pack;
  const store = backboneStore(recipe, task, backbone);
  checkBackbone(path, pack.backbone, [...pack.own.keys()], store, task.model.upstream.prefix);
  for (const { name, bits } of pack.masks((name) => store.array(name))) {
    const weights = store.array(name);
    for (let i = 0; i < weights.length; i++) if (((bits[i >> 3] >> (i & 7)) & 1) === 0) weights[i] = 0;
  }
  for (const [name, { data }] of pack.own) store.array(name).set(data);
  const { sampleRate, normalize } = recipe.corpus;
  return { path, task, store, audio: { sampleRate, normalize }, notes: [], recipe };
}

/** Writes a pack as the folder of the run that it came from: a dense model in Hugging Face's form with its heads. */
export function unpack(path: string, folder: string, backbone?: string): void {
  const { task, store, audio } = openPack(path, backbone);
  const { files } = readPack(path);
  mkdirSync(folder, { recursive: true });
  exportModel(folder, task, store, { spec: audio });
  for (const [name, text] of Object.entries(files))
    writeAtomically(join(folder, name), (put) => put(Buffer.from(text)));
}
