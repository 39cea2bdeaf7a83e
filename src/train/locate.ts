import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { resolveModel } from "../weights/hub.ts";
import { progress } from "./progress.ts";
import type { Recipe } from "./recipe-schema.ts";

/** Upstreams that have no weights are known by name alone. */
export const WITHOUT_WEIGHTS: readonly string[] = ["log-mel"];

/** What the package itself brings: `models/nano`, from wherever it is asked for. */
const PACKAGE = resolve(import.meta.dirname, "../..");

export interface LocatedModel {
  /** A folder, a file, or the name of an upstream without weights. */
  readonly path: string;
  /** The commit of a model of the hub. */
  readonly commit?: string;
}

/**
 * Where a model is, however it was named: a folder (a run's, or one in Hugging Face's form), a checkpoint file, a model that
 * the package brings (`models/nano`; a folder of that name goes before it), a name of the hub (`organisation/model` or
 * `organisation/model@revision`, downloaded into the standard cache with progress on stderr), or the name of an upstream
 * without weights ("log-mel").
 * @throws UserError for what is nowhere
 */
export async function locateModel(name: string, log: (line: string) => void): Promise<LocatedModel> {
  if (existsSync(name)) return { path: name };
  if (WITHOUT_WEIGHTS.includes(name)) return { path: name };
  if (/^models\/\w+$/.test(name) && existsSync(join(PACKAGE, name))) return { path: join(PACKAGE, name) };
  let shown: { file: string; bar: ReturnType<typeof progress> } | undefined;
  try {
    return await resolveModel(name, {
      onNote: log,
      onProgress(file, received, total) {
        if (shown?.file !== file) {
          shown?.bar.end();
          const label = `downloading ${file} of ${name}, MB`;
          shown = { file, bar: progress({ label, total: megabytes(total), start: megabytes(received) }) };
        }
        shown.bar.update(megabytes(received));
      },
    });
  } finally {
    shown?.bar.end();
  }
}

/** The paths of several models. */
export async function locateModels(names: readonly string[], log: (line: string) => void): Promise<string[]> {
  const paths: string[] = [];
  for (const name of names) paths.push((await locateModel(name, log)).path);
  return paths;
}

const megabytes = (bytes: number): number => Math.ceil(bytes / 1e6);

/** The recipe as `modelOf` reads it: its upstream by a local path, or by a configuration where it has no weights. */
export async function withLocalUpstream(recipe: Recipe, log: (line: string) => void): Promise<Recipe> {
  const { model } = recipe.upstream;
  if (model === undefined) return recipe;
  const { path } = await locateModel(model, log);
  const upstream = WITHOUT_WEIGHTS.includes(path)
    ? { ...recipe.upstream, model: undefined, config: { model_type: path } }
    : { ...recipe.upstream, model: path };
  return { ...recipe, upstream };
}
