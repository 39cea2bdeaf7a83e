import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { UserError } from "../errors.ts";
import { writeHuggingFaceFolder } from "../weights/convert.ts";
import { writeAtomically } from "../weights/file.ts";
import { HEADS_FILE, headOf, inTransformers } from "../weights/names.ts";
import { narrow } from "../weights/narrow.ts";
import { type TensorEntry, writeSafetensors } from "../weights/safetensors.ts";
import type { Dtype, TensorFile, TensorInfo } from "../weights/tensor-file.ts";
import { Merger, type OnProgress } from "./merger.ts";
import type { MergeModels } from "./models.ts";
import { DOES, type MergeSpec } from "./spec.ts";

export interface MergeOptions {
  readonly onProgress?: OnProgress;
  /** Adds files to the folder before it appears. */
  readonly finish?: (folder: string) => void;
}

/** Files of a model folder that describe the model and stay as they are. */
const COMPANIONS = ["preprocessor_config.json"];
const OF_HEADS = [
  "vocab.json",
  "tokenizer_config.json",
  "tokenizer.json",
  "special_tokens_map.json",
  "added_tokens.json",
];

/**
 * Merges models tensor by tensor into a folder in Hugging Face's form, with the base's names, element types and
 * configuration. Memory is that of the largest tensor, once for each model. The folder appears whole or not at all.
 *
 * @throws UserError where `out` exists, or a tensor becomes NaN or infinite
 */
export function writeMerge(
  models: MergeModels,
  spec: MergeSpec,
  out: string,
  options: MergeOptions = {},
): void {
  if (existsSync(out)) throw new UserError(`${out}: exists already; name a folder that does not`);
  const target = resolve(out);
  mkdirSync(dirname(target), { recursive: true });
  const temporary = join(dirname(target), `.merge-${process.pid}.tmp`);
  rmSync(temporary, { recursive: true, force: true });
  const merged = mergedTensors(models, spec, options.onProgress);
  try {
    if (statSync(models.base.path).isDirectory()) writeLikeBase(models, merged, temporary);
    else {
      const { base, withHeads } = models;
      const vocabulary = withHeads ? base.vocabulary : undefined;
      writeHuggingFaceFolder({ ...base, vocabulary, config: configOf(models), weights: merged }, temporary);
    }
    writeJson(join(temporary, "merge.json"), recordOf(models, spec));
    options.finish?.(temporary);
    renameSync(temporary, target);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw error;
  }
}

/** The merged model as a file of tensors that are computed when they are read. */
export function mergedTensors(models: MergeModels, spec: MergeSpec, onProgress?: OnProgress): TensorFile {
  const { base, tuned, lines } = models;
  const merger = new Merger(models, spec, onProgress);
  const infos = new Map<string, TensorInfo>();
  const kept = new Set<string>();
  for (const { name, action } of lines) {
    const info = base.weights.infos.get(name);
    if (action === "dropped" || info === undefined) continue;
    if (action === "kept") kept.add(name);
    // Where models differ in precision, none is to lose what it has.
    const types = new Set([base, ...tuned].map(({ weights }) => weights.infos.get(name)?.dtype));
    const dtype: Dtype = action === "kept" || (types.size === 1 && info.dtype !== "F64") ? info.dtype : "F32";
    infos.set(name, { ...info, dtype });
  }
  const values = (name: string) => (kept.has(name) ? base.weights.readF32(name) : merger.tensor(name));
  return {
    path: `merge of ${base.path}`,
    infos,
    metadata: {},
    readF32(name, into) {
      if (into === undefined) return values(name).slice();
      into.set(values(name));
      return into;
    },
    readNumbers(name) {
      if (kept.has(name)) return base.weights.readNumbers(name);
      const { dtype, shape } = infos.get(name)!;
      return { dtype, shape, data: merger.tensor(name) };
    },
    close: models.close,
  };
}

/** The base's own form: its names (with or without the family's prefix), element types and companions. */
function writeLikeBase(models: MergeModels, merged: TensorFile, folder: string): void {
  const { base, withHeads } = models;
  mkdirSync(folder, { recursive: true });
  const entries = [...merged.infos.values()].map(({ name, dtype, shape }) => {
    const entry: TensorEntry = {
      name: base.plan.names.get(name)!,
      dtype,
      shape,
      data: () => {
        const { data } = merged.readNumbers(name);
        return data instanceof Float32Array ? narrow(data, dtype) : data;
      },
    };
    // DeCoAR 2.0 is no model of transformers: its folder is ours and in one piece.
    const inModel = base.family === "decoar2" || inTransformers(base.family, name);
    return { entry, inModel };
  });
  const which = (inModel: boolean) => entries.filter((each) => each.inModel === inModel).map((e) => e.entry);
  writeSafetensors(join(folder, "model.safetensors"), which(true));
  if (which(false).length > 0) writeSafetensors(join(folder, HEADS_FILE), which(false));
  writeJson(join(folder, "config.json"), configOf(models));
  for (const name of [...COMPANIONS, ...(withHeads ? OF_HEADS : [])])
    if (existsSync(join(base.path, name))) copyFileSync(join(base.path, name), join(folder, name));
}

/** The base's configuration; where its task heads were dropped, that of the bare model. */
function configOf({ base, withHeads }: MergeModels): Record<string, unknown> {
  const hadHeads = [...base.weights.infos.keys()].some((name) => headOf(name) === "task");
  if (withHeads || !hadHeads) return base.config;
  const { architectures, ...config } = base.config;
  for (const key of ["vocab_size", "id2label", "label2id", "classifier_proj_size"]) delete config[key];
  const names = Array.isArray(architectures) ? architectures : [];
  return { ...config, architectures: names.map((name) => String(name).replace(/For[A-Z]\w*$/, "Model")) };
}

/** What a merged folder says of its making. */
const recordOf = ({ base, tuned, lines }: MergeModels, spec: MergeSpec) => ({
  does: DOES[spec.method],
  ...spec,
  base: base.path,
  tuned: tuned.map(({ path }) => path),
  kept: lines.filter(({ action }) => action === "kept").map(({ name }) => name),
  dropped: lines.filter(({ action }) => action === "dropped").map(({ name }) => name),
});

function writeJson(path: string, value: unknown): void {
  writeAtomically(path, (put) => put(Buffer.from(`${JSON.stringify(value, null, 2)}\n`)));
}
