export { FeatureCache, featureBytes } from "./cache.ts";
export { type TaskEntry, taskEntries, taskGroups, tasksNamed } from "./catalogue.ts";
export { type ProbeOptions, type ProbeReport, probe } from "./probe.ts";
export { meanColumns, type ProbeResult } from "./results.ts";
export type { Learner, ProbeRecipe, ProbeTask } from "./task.ts";
export {
  miniatureDigits,
  miniatureKeywords,
  miniaturePhonemes,
  miniatureSlots,
  miniatureSpeakers,
} from "./tasks/miniature.ts";
export { type FrozenUpstream, LOG_MEL, openUpstream, upstreamFrom } from "./upstream.ts";
