import { closest, UserError } from "../errors.ts";
import type { TaskEntry } from "./task.ts";
import { asr, asrZh } from "./tasks/asr.ts";
import { asv } from "./tasks/asv.ts";
import { er } from "./tasks/er.ts";
import { ic } from "./tasks/ic.ts";
import { ks } from "./tasks/ks.ts";
import { entries as miniature } from "./tasks/miniature.ts";
import { pr } from "./tasks/pr.ts";
import { qbe } from "./tasks/qbe.ts";
import { sd } from "./tasks/sd.ts";
import { sf } from "./tasks/sf.ts";
import { sid } from "./tasks/sid.ts";
import { st } from "./tasks/st.ts";

export { FeatureCache, featureBytes } from "./cache.ts";
export { type ProbeOptions, type ProbeReport, type ProbeResult, probe } from "./probe.ts";
export type { Learner, ProbeRecipe, ProbeTask, TaskEntry } from "./task.ts";
export { type FrozenUpstream, LOG_MEL, openUpstream, upstreamFrom } from "./upstream.ts";

/** The ten tasks of SUPERB's score. */
const scored = [pr, asr, ks, qbe, sid, asv, sd, er, ic, sf];

/** Every task there is. */
export const taskEntries: readonly TaskEntry[] = [...scored, st, asrZh, ...miniature];

/** Names that stand for several tasks. */
export const taskGroups: Readonly<Record<string, readonly string[]>> = {
  /** What Speech-FT scores by: content, speaker, emotion, meaning. */
  mini: ["pr", "sid", "er", "sf"],
  all: scored.map(({ name }) => name),
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
