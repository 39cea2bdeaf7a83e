import { closest, UserError } from "../errors.ts";
import type { TaskEntry } from "./task.ts";
import { entries as miniature } from "./tasks/miniature.ts";

export { FeatureCache, featureBytes } from "./cache.ts";
export { type ProbeOptions, type ProbeReport, type ProbeResult, probe } from "./probe.ts";
export type { Learner, ProbeRecipe, ProbeTask, TaskEntry } from "./task.ts";
export { type FrozenUpstream, LOG_MEL, openUpstream, upstreamFrom } from "./upstream.ts";

/** Every task there is. */
export const taskEntries: readonly TaskEntry[] = [...miniature];

/** Names that stand for several tasks. */
export const taskGroups: Readonly<Record<string, readonly string[]>> = {
  miniature: miniature.map(({ name }) => name),
};

/** Tasks by names with commas, groups included; each once. @throws UserError for a name that is none */
export function tasksNamed(list: string): TaskEntry[] {
  const names = list.split(",").map((name) => name.trim());
  const wanted = new Set(names.flatMap((name) => taskGroups[name] ?? [name]));
  return [...wanted].map((name) => {
    const entry = taskEntries.find((each) => each.name === name);
    if (entry !== undefined) return entry;
    const known = [...Object.keys(taskGroups), ...taskEntries.map((each) => each.name)];
    const near = closest(name, known);
    throw new UserError(
      `--tasks: "${name}" is no task; ${near ? `did you mean ${near}?` : `there are ${known.join(", ")}`}`,
    );
  });
}
