import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { applyBits } from "../params/mask.ts";
import type { Upstream } from "../upstreams/index.ts";
import { type Checkpoint, openCheckpoint } from "../weights/checkpoint.ts";
import { loadStrict } from "../weights/model-folder.ts";
import { headOf } from "../weights/names.ts";
import { readJsonObject } from "../weights/shards.ts";
import type { TensorFile } from "../weights/tensor-file.ts";
import { importModel } from "./export.ts";
import { checkpointHead, type Head } from "./foreign-head.ts";
import { WITHOUT_WEIGHTS } from "./locate.ts";
import { bareModel } from "./model.ts";
import { backboneStore, ownNames, readAnyPack } from "./pack.ts";
import { checkBackbone, isPack } from "./pack-file.ts";
import { type Recipe, readRecipe } from "./recipe.ts";
import type { ParameterStore } from "./store.ts";
import { type Target, targetFromJson } from "./targets.ts";
import type { Task } from "./task.ts";
import { storeOf, taskOf } from "./trained-task.ts";

/** A model with its weights, ready for use; where it came from no longer matters. */
export interface OpenedModel {
  /** The path it was opened by. */
  readonly path: string;
  /** The upstream and the heads it has, none where the checkpoint is a bare upstream. */
  readonly task: Task;
  /** All weights; nothing in it trains. */
  readonly store: ParameterStore;
  /** How it wants its audio: mono at `sampleRate` Hz, with zero mean and unit variance where `normalize`. */
  readonly audio: { readonly sampleRate: number; readonly normalize: boolean };
  /** What was assumed because the files do not say. */
  readonly notes: readonly string[];
  /** The recipe of a run. */
  readonly recipe?: Recipe;
}

/** Whether a folder is a run's: it says how it was made and what its heads mean. */
export const isRun = (path: string): boolean => existsSync(join(path, "recipe.yaml"));

/**
 * Opens a model for use: the folder of a run (heads and all), a folder in Hugging Face's form (with the CTC head or pooled
 * classifier that it has), a mask pack whose backbone is where its run had it, any checkpoint `openCheckpoint` reads, or the name of an upstream without weights ("log-mel").
 * @throws UserError naming the file, and the tensor or key that does not fit
 */
export function openModel(path: string): OpenedModel {
  if (WITHOUT_WEIGHTS.includes(path) && !existsSync(path)) return weightless(path);
  if (isPack(path)) return openPack(path);
  return existsSync(path) && isRun(path) ? openRunModel(path) : openCheckpointModel(path);
}

/**
 * Opens a pack as a model: the backbone from `backbone` or from where it was, masked, with the task's heads (a SUPERB task's
 * head is left out).
 * @throws UserError where the backbone is another one
 */
export function openPack(path: string, backbone?: string): OpenedModel {
  const pack = readAnyPack(path);
  const { task, audio, recipe } = pack;
  const store = backboneStore(pack, backbone);
  checkBackbone(path, pack.backbone, ownNames(pack), store, task.model.upstream.prefix);
  for (const { name, bits } of pack.masks((name) => store.array(name))) {
    const weights = store.array(name);
    applyBits(bits, weights, weights);
  }
  for (const [name, { data }] of pack.own) if (store.specs.has(name)) store.array(name).set(data);
  return { path, task, store, audio, notes: [], ...(recipe && { recipe }) };
}

/** The recipe of a run's folder as it stands without what it was made from: its own files replace the pre-trained model. */
export function selfContainedRecipe(folder: string): Recipe {
  const recipe = readRecipe(join(folder, "recipe.yaml"));
  const config = readJsonObject(join(folder, "config.json"));
  return { ...recipe, upstream: { ...recipe.upstream, model: undefined, config } };
}

/** What the heads of a finished run's model mean, by objective. @throws UserError naming the file */
export function readTargets(folder: string): Map<string, Target> {
  const path = join(folder, "targets.json");
  if (!existsSync(path)) throw new UserError(`${path}: does not exist`);
  try {
    const json: Record<string, Parameters<typeof targetFromJson>[0]> = JSON.parse(readFileSync(path, "utf8"));
    return new Map(Object.entries(json).map(([name, target]) => [name, targetFromJson(target)]));
  } catch (error) {
    throw new UserError(`${path}: is not JSON: ${(error as Error).message}`);
  }
}

/** The model of a run's folder; neither its corpus nor its pre-trained upstream is needed. */
function openRunModel(folder: string): OpenedModel {
  const recipe = selfContainedRecipe(folder);
  const task = taskOf(recipe, readTargets(folder), join(folder, "targets.json"));
  const store = storeOf(task);
  importModel(folder, task, store);
  const { sampleRate, normalize } = recipe.corpus;
  return { path: folder, task, store, audio: { sampleRate, normalize }, notes: [], recipe };
}

function openCheckpointModel(path: string): OpenedModel {
  const checkpoint = openCheckpoint(path);
  try {
    const model = { ...bareModel(checkpoint.config, `${path}: config`), source: path };
    const { upstream } = model;
    const head = checkpointHead(checkpoint, upstream.hiddenSize);
    const task: Task = {
      model,
      layers: "last",
      objectives: head === undefined ? [] : [head.objective],
    };
    const store = storeOf(task);
    fill(store, checkpoint.weights, upstream, head);
    const notes = [...checkpoint.notes, ...(head?.notes ?? [])];
    return { path, task, store, audio: audioOf(checkpoint, upstream, notes), notes };
  } finally {
    checkpoint.weights.close();
  }
}

function weightless(name: string): OpenedModel {
  const model = bareModel({ model_type: name }, name);
  const { upstream } = model;
  const task: Task = { model, layers: "last", objectives: [] };
  const audio = { sampleRate: upstream.sampleRate, normalize: false };
  return { path: name, task, store: storeOf(task), audio, notes: [] };
}

/** Fills the store from a checkpoint: the upstream's tensors each exactly once, and the head's. */
function fill(store: ParameterStore, weights: TensorFile, upstream: Upstream, head: Head | undefined): void {
  const prefix = `${upstream.prefix}.`;
  const wanted = new Map(
    [...store.specs].filter(([name]) => name.startsWith(prefix)).map(([name, spec]) => [name, spec.shape]),
  );
  const unused = `${prefix}masked_spec_embed`;
  const loaded = loadStrict(weights, wanted, (name) =>
    headOf(name) !== undefined || name === unused ? undefined : name,
  );
  for (const name of wanted.keys()) loaded.readF32(name, store.array(name));
  head?.load(weights, store);
  const bad = [...store.specs.keys()].find((name) => store.array(name).some((x) => !Number.isFinite(x)));
  if (bad !== undefined) throw new UserError(`${weights.path}: "${bad}" holds a NaN or an infinity`);
}

/** What the checkpoint says of its audio; where it is silent, what models of its kind were trained with. */
function audioOf(
  { path, preprocessor, family }: Checkpoint,
  upstream: Upstream,
  notes: string[],
): OpenedModel["audio"] {
  const beside = join(path, "preprocessor_config.json");
  const isFolder = statSync(path).isDirectory();
  const said = isFolder && existsSync(beside) ? readJsonObject(beside) : preprocessor;
  if (["decoar2", "pase", "log-mel"].includes(family))
    return { sampleRate: upstream.sampleRate, normalize: false };
  const { sampling_rate: rate, do_normalize: normalize } = said ?? {};
  if (said === undefined)
    notes.push(
      `nothing says how the audio is prepared: ${upstream.sampleRate} Hz, ${upstream.padSensitive ? "not normalised (group norm)" : "normalised (layer norm)"}`,
    );
  return {
    sampleRate: typeof rate === "number" ? rate : upstream.sampleRate,
    normalize: typeof normalize === "boolean" ? normalize : !upstream.padSensitive,
  };
}
