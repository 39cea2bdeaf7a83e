import { UserError } from "../errors.ts";
import { modelOf } from "./model.ts";
import type { Recipe } from "./recipe.ts";
import { ParameterStore } from "./store.ts";
import type { Target } from "./targets.ts";
import { everCounts, namePaths, type Task, type TaskObjective, traceEvaluation } from "./task.ts";

/** The task of a trained recipe, from what its heads mean. @throws UserError where `where` does not say that of each */
export function taskOf(recipe: Recipe, targets: ReadonlyMap<string, Target>, where: string): Task {
  const active = Object.entries(recipe.objectives).filter(([, o]) => everCounts(o));
  const model = modelOf(recipe);
  const paths = namePaths(active, model);
  const objectives = active.map(([name, spec]): TaskObjective => {
    const target = targets.get(name);
    if (target === undefined) throw new UserError(`${where}: has no "${name}"`);
    return { name, spec, target, path: paths.get(name)! };
  });
  return { model, layers: recipe.upstream.layers, objectives };
}

/** Room for the weights of a task, zero so far. */
export function storeOf(task: Task): ParameterStore {
  const { table } = traceEvaluation(task, task.objectives, false);
  return new ParameterStore(table.specs, () => false);
}
