/**
 * voxsmith as a library: adapt self-supervised speech models to tasks with little data, in TypeScript. What stands here
 * is the public interface; everything else may change without notice.
 */
export { RunError, UserError } from "./errors.ts";
export {
  durationSteps,
  type NewBobSpec,
  type NewBobState,
  newBob,
  newBobStart,
  type Schedule,
  type ScheduleSpec,
  schedule,
} from "./nn/schedules.ts";
export { type Random, random } from "./random.ts";
export { type Checkpoint, loadCheckpoint, saveCheckpoint } from "./train/checkpoint.ts";
export { type LogRecord, readLog } from "./train/log.ts";
export { parseRecipe, printRecipe, type Recipe, readRecipe } from "./train/recipe.ts";
export { type RunInfo, readRun } from "./train/run-folder.ts";
export { openSafetensors, writeSafetensors } from "./weights/safetensors.ts";
