import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Merger } from "../../src/merge/merger.ts";
import { fitModels } from "../../src/merge/models.ts";
import { type MergeSpec, mergeSpec } from "../../src/merge/spec.ts";
import type { Checkpoint } from "../../src/weights/checkpoint.ts";
import { narrow } from "../../src/weights/narrow.ts";
import { parseSafetensors, writeSafetensors } from "../../src/weights/safetensors.ts";
import { layOut } from "../../src/weights/safetensors-format.ts";
import { bytesOf, type Dtype } from "../../src/weights/tensor-file.ts";

export interface Tensor {
  shape: number[];
  data: Float32Array;
  dtype?: Dtype;
}
export type Tensors = Record<string, Tensor>;

const entriesOf = (tensors: Tensors) =>
  Object.entries(tensors).map(([name, { shape, data, dtype = "F32" }]) => ({
    name,
    dtype,
    shape,
    data: narrow(data, dtype),
  }));

/** A model that is only in memory. */
export function inMemory(tensors: Tensors, path = "memory"): Checkpoint {
  const { ordered, header } = layOut(entriesOf(tensors), {});
  const bytes = Buffer.concat([header, ...ordered.map(({ data }) => bytesOf(data as ArrayBufferView))]);
  const weights = parseSafetensors(new Uint8Array(bytes), path);
  const names = new Map(Object.keys(tensors).map((name) => [name, name]));
  const plan = { lines: [], names };
  return { path, source: "Hugging Face folder", family: "wav2vec2", config: {}, weights, plan, notes: [] };
}

/** The tensors of a merge of models in memory. */
export function mergeInMemory(
  base: Tensors,
  tuned: readonly Tensors[],
  given: Partial<MergeSpec> & { method: MergeSpec["method"] },
): Record<string, Float32Array> {
  const spec = mergeSpec(given, tuned.length);
  const [first, ...others] = [base, ...tuned].map((each, i) => inMemory(each, `model ${i}`));
  const merger = new Merger(fitModels(first, others, { ...spec, heads: "drop" }), spec);
  return Object.fromEntries(Object.keys(base).map((name) => [name, merger.tensor(name).slice()]));
}

/** A model folder in Hugging Face's form. */
export function modelFolder(
  tensors: Tensors,
  config: object = {},
  files: Record<string, object> = {},
): string {
  const folder = join(mkdtempSync(join(tmpdir(), "merge-")), "model");
  mkdirSync(folder);
  writeFileSync(join(folder, "config.json"), JSON.stringify({ model_type: "wav2vec2", ...config }));
  writeSafetensors(join(folder, "model.safetensors"), entriesOf(tensors));
  for (const [name, json] of Object.entries(files)) writeFileSync(join(folder, name), JSON.stringify(json));
  return folder;
}

export const tensorsOf = (
  values: Record<string, readonly number[]>,
  shapes: Record<string, number[]>,
): Tensors =>
  Object.fromEntries(
    Object.entries(values).map(([name, data]) => [
      name,
      { shape: shapes[name], data: Float32Array.from(data) },
    ]),
  );
