import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { cachedModel } from "../weights/hub.ts";
import { openWeights } from "../weights/model-folder.ts";
import { openSafetensors, type TensorEntry } from "../weights/safetensors.ts";
import { MASKS, readMasks } from "./mask-file.ts";
import { bareModel, loadUpstream } from "./model.ts";
import type { OpenedModel } from "./open-model.ts";
import {
  checkBackbone,
  isPack,
  type PackFile,
  type PackReport,
  packedFiles,
  readPackFile,
  writePack,
} from "./pack-file.ts";
import { parseRecipe, type Recipe } from "./recipe.ts";
import { readRun } from "./run-folder.ts";
import type { ParameterStore } from "./store.ts";
import { type Target, targetFromJson } from "./targets.ts";
import type { Task } from "./task.ts";
import { storeOf, taskOf } from "./trained-task.ts";

/** Small files of a run's folder that a pack carries along. */
const RUN_FILES = [
  ...["recipe.yaml", "config.json", "targets.json", "preprocessor_config.json", "run.json"],
  ...["lineage.json", "vocab.json", "tokenizer_config.json"],
  // What assessing with a severity model rests on.
  ...["calibration.json", "reference.json"],
];

/** The file of a SUPERB task's folder that says which model trained with its head, and what that wants to hear. */
export const ADAPTED_UPSTREAM = "upstream.json";

export interface TaskUpstream {
  readonly model: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly sampleRate: number;
  readonly normalize: boolean;
}

/** A pack with what its small files say of it. */
export interface Packed extends PackFile {
  /** Without heads where it is of a SUPERB task, whose head is no objective of a recipe. */
  readonly task: Task;
  readonly audio: OpenedModel["audio"];
  /** Where its backbone was; undefined where that was drawn from the recipe's seed. */
  readonly source?: string;
  readonly recipe?: Recipe;
}

/** The pack of a run. */
export interface Pack extends Packed {
  readonly recipe: Recipe;
  readonly targets: ReadonlyMap<string, Target>;
}

/** Whether the small files of a pack are those of a SUPERB task. */
const ofTask = (files: Readonly<Record<string, string>>): boolean => files[ADAPTED_UPSTREAM] !== undefined;

/** Whether a pack is of a SUPERB task. @throws UserError where it is no pack */
export const isTaskPack = (path: string): boolean => ofTask(packedFiles(path));

/** Reads a pack of any kind. @throws UserError naming the file where it is none */
export function readAnyPack(path: string): Packed {
  const file = readPackFile(path);
  return ofTask(file.files)
    ? { ...file, ...describeTask(file.files, path) }
    : { ...file, ...describedBy(file.files, path) };
}

/** Reads the pack of a run. @throws UserError naming the file where it is none */
export function readPack(path: string): Pack {
  const file = readPackFile(path);
  if (ofTask(file.files))
    throw new UserError(
      `${path}: is of a SUPERB task and has none of a recipe's heads; \`voxsmith eval --pack\` evaluates it, apart from packs of runs`,
    );
  return { ...file, ...describedBy(file.files, path) };
}

/** The text of a small file of a run, from its folder or from its pack; undefined where it has none of that name. */
export function runFile(path: string, name: string): string | undefined {
  if (isPack(path)) return packedFiles(path)[name];
  const file = join(path, name);
  return existsSync(file) ? readFileSync(file, "utf8") : undefined;
}

/** Those of a folder's small files that there are. */
export const smallFiles = (folder: string, names: readonly string[]): Record<string, string> =>
  Object.fromEntries(
    names.flatMap((name) => (runFile(folder, name) === undefined ? [] : [[name, runFile(folder, name)!]])),
  );

/** The upstream of a pack before any mask: loaded from `backbone`, from where the pack says, or drawn from its recipe's seed. */
export function backboneStore(
  { task, source, recipe }: Pick<Packed, "task" | "source" | "recipe">,
  backbone?: string,
): ParameterStore {
  const store = storeOf(task);
  const prefix = `${task.model.upstream.prefix}.`;
  const from = backbone ?? source;
  if (from === undefined)
    store.initialise(
      recipe!.seed,
      [...store.specs.keys()].filter((name) => name.startsWith(prefix)),
    );
  else loadUpstream({ ...task.model, source: cachedModel(from) }, store);
  return store;
}

/** What of a pack's upstream is its task's own, and no part of the backbone's hash. */
export const ownNames = ({ own, task }: Packed): string[] => [
  ...own.keys(),
  // A SUPERB task hides no frames: the vector for them may be there or not.
  ...(own.has("layer_weights") ? [`${task.model.upstream.prefix}.masked_spec_embed`] : []),
];

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
  const masks = readMasks(join(folder, MASKS));
  const files = smallFiles(folder, RUN_FILES);
  const described = describedBy(files, folder);
  const store = backboneStore(described, backbone);
  checkBackbone(masks.path, masks.backbone, masks.own, store, described.task.model.upstream.prefix);
  const trained = [openWeights(join(folder, "model.safetensors"))];
  if (existsSync(join(folder, "heads.safetensors")))
    trained.push(openSafetensors(join(folder, "heads.safetensors")));
  const own = masks.own.map((name): TensorEntry => {
    const file = trained.find(({ infos }) => infos.has(name));
    if (file === undefined) throw new UserError(`${folder}: its weights lack "${name}"`);
    return { name, dtype: "F32", shape: file.infos.get(name)!.shape, data: file.readF32(name) };
  });
  for (const file of trained) file.close();
  return writePack(out, { name: info.name, masks, weights: (name) => store.array(name), own, files });
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
  const { sampleRate, normalize } = recipe.corpus;
  return {
    ...{ recipe, targets, source: recipe.upstream.model, audio: { sampleRate, normalize } },
    task: taskOf(standing, targets, where),
  };
}

/** The upstream that the small files of a SUPERB task say. */
export function describeTask(files: Readonly<Record<string, string>>, where: string) {
  const { model, config, sampleRate, normalize }: TaskUpstream = JSON.parse(files[ADAPTED_UPSTREAM]);
  const task: Task = {
    model: bareModel(config, `${where}: ${ADAPTED_UPSTREAM}`),
    layers: "last",
    objectives: [],
  };
  return { task, source: model, audio: { sampleRate, normalize } };
}
