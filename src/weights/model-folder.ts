import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { openSafetensors } from "./safetensors.ts";
import { openShards, readJsonObject } from "./shards.ts";
import { renamed, type TensorFile } from "./tensor-file.ts";
import { openTorchStateDict } from "./torch-archive.ts";

// In the order in which transformers looks for them.
const WEIGHT_FILES = [
  "model.safetensors",
  "model.safetensors.index.json",
  "pytorch_model.bin",
  "pytorch_model.bin.index.json",
];

/** A model in Hugging Face's form: `config.json` and the weights beside it. */
export interface ModelFolder {
  path: string;
  config: Record<string, unknown>;
  weights: TensorFile;
}

/** Opens a folder that holds `config.json` and weights in any form `openWeights` reads. */
export function openModelFolder(folder: string): ModelFolder {
  if (!existsSync(folder)) throw new UserError(`${folder}: does not exist`);
  const config = readJsonObject(join(folder, "config.json"));
  return { path: folder, config, weights: openWeights(folder) };
}

/**
 * Opens the weights of a model folder, or one weight file: safetensors by that ending, an index of shards, anything else
 * as a PyTorch file that holds a state dict.
 */
export function openWeights(path: string): TensorFile {
  if (!existsSync(path)) throw new UserError(`${path}: does not exist`);
  if (statSync(path).isDirectory()) {
    const name = WEIGHT_FILES.find((candidate) => existsSync(join(path, candidate)));
    if (!name) throw new UserError(`${path}: holds none of ${WEIGHT_FILES.join(", ")}`);
    return openWeights(join(path, name));
  }
  if (path.endsWith(".index.json")) return openShards(path, openWeights);
  return path.endsWith(".safetensors") ? openSafetensors(path) : openTorchStateDict(path);
}

const LISTED = 8;

/** `"a", "b" and 3 more` */
function list(names: string[]): string {
  const more = names.length - LISTED;
  const text = names.slice(0, LISTED).join(", ");
  return more > 0 ? `${text} and ${more} more` : text;
}

/**
 * The tensors of `source` under the names a model asks for, each used exactly once.
 *
 * @param wanted name and shape of every tensor the model has
 * @param rename from a name in `source` to a wanted one; undefined leaves that tensor out on purpose
 * @returns a view whose names are those of `wanted`, in that order; close `source` (or the view) when done
 * @throws one `UserError` that lists what is missing, left over and of another shape
 */
export function loadStrict(
  source: TensorFile,
  wanted: ReadonlyMap<string, readonly number[]>,
  rename: (name: string) => string | undefined = (name) => name,
): TensorFile {
  const found = new Map<string, string>();
  const leftOver: string[] = [];
  for (const name of source.infos.keys()) {
    const target = rename(name);
    if (target === undefined) continue;
    if (!wanted.has(target)) leftOver.push(`"${name}"`);
    else if (found.has(target)) leftOver.push(`"${name}" (a second "${target}")`);
    else found.set(target, name);
  }
  const missing: string[] = [];
  const misshapen: string[] = [];
  const inOrder = new Map<string, string>();
  for (const [name, shape] of wanted) {
    const sourceName = found.get(name);
    if (sourceName === undefined) {
      missing.push(`"${name}"`);
      continue;
    }
    inOrder.set(name, sourceName);
    const has = source.infos.get(sourceName)!.shape;
    if (has.length !== shape.length || has.some((size, axis) => size !== shape[axis])) {
      misshapen.push(`"${sourceName}" [${has.join(", ")}] instead of [${shape.join(", ")}]`);
    }
  }
  const faults: string[] = [];
  if (missing.length) faults.push(`${missing.length} missing: ${list(missing)}`);
  if (leftOver.length) faults.push(`${leftOver.length} left over: ${list(leftOver)}`);
  if (misshapen.length) faults.push(`${misshapen.length} of another shape: ${list(misshapen)}`);
  if (faults.length) {
    throw new UserError(`${source.path}: the tensors do not fit the model; ${faults.join("; ")}`);
  }
  return renamed(source, inOrder);
}
