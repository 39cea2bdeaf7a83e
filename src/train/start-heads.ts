import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { openWeights } from "../weights/model-folder.ts";
import { openSafetensors } from "../weights/safetensors.ts";
import type { ParameterStore } from "./store.ts";
import { targetToJson } from "./targets.ts";
import type { Task } from "./task.ts";

/**
 * Fills the heads of a task from the run that its upstream comes from.
 * @throws UserError where that is no run's folder, or its heads answer another question
 */
export function loadHeads({ model, objectives }: Task, store: ParameterStore): void {
  const { source, upstream } = model;
  const path = join(source ?? "", "targets.json");
  if (source === undefined || !existsSync(path))
    throw new UserError("upstream.heads: `load` needs `upstream.model` to be the folder of a run");
  const theirs: Record<string, unknown> = JSON.parse(readFileSync(path, "utf8"));
  for (const { name, target } of objectives)
    if (JSON.stringify(theirs[name]) !== JSON.stringify(targetToJson(target)))
      throw new UserError(
        `upstream.heads: the objective "${name}" of ${source} ${theirs[name] === undefined ? "does not exist" : "has other symbols or classes than this corpus"}; use \`new\` heads`,
      );
  const files = [openWeights(source)];
  const heads = join(source, "heads.safetensors");
  if (existsSync(heads)) files.push(openSafetensors(heads));
  try {
    for (const name of store.specs.keys()) {
      if (name.startsWith(`${upstream.prefix}.`)) continue;
      const file = files.find(({ infos }) => infos.has(name));
      if (file === undefined) throw new UserError(`${source}: has no "${name}" to start from`);
      file.readF32(name, store.array(name));
    }
  } finally {
    for (const file of files) file.close();
  }
}
