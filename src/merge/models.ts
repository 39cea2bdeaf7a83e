import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { UserError } from "../errors.ts";
import { encoderKeys, extractorKeys, positionKeys } from "../upstreams/config.ts";
import { type Checkpoint, openCheckpoint } from "../weights/checkpoint.ts";
import { headOf } from "../weights/names.ts";
import { isFloat } from "../weights/tensor-file.ts";
import type { MergeSpec } from "./spec.ts";

/** What becomes of one tensor, by which rule. */
export interface MergeLine {
  readonly name: string;
  readonly action: "merged" | "kept" | "dropped";
  readonly why: string;
  /** Elements. */
  readonly size: number;
}

/** Models that fit each other, and what becomes of their tensors. Close them when done. */
export interface MergeModels {
  readonly base: Checkpoint;
  readonly tuned: readonly Checkpoint[];
  readonly lines: readonly MergeLine[];
  /** Whether task heads are part of the result. */
  readonly withHeads: boolean;
  close(): void;
}

/** Keys of a configuration that say how an encoder computes; dropout and the like do not. */
const ARCHITECTURE = [
  ...Object.keys({ ...encoderKeys, ...extractorKeys, ...positionKeys }),
  "num_buckets",
  "max_bucket_distance",
  "conv_pos_kernel_size",
  "num_mel_bins",
].filter((key) => !/dropout/.test(key));
const withDefaults = z.looseObject({ ...encoderKeys, ...extractorKeys, ...positionKeys });

const TASK_HEAD = "task head";

/**
 * Opens a base and models tuned from it, and says what a merge does with each tensor.
 * @throws UserError where they are not of one architecture, hold other tensors, or their heads speak of different things
 */
export function openModels(basePath: string, tunedPaths: readonly string[], spec: MergeSpec): MergeModels {
  const open: Checkpoint[] = [];
  const close = () => {
    for (const { weights } of open) weights.close();
  };
  try {
    for (const path of [basePath, ...tunedPaths]) open.push(openCheckpoint(path));
    return { ...fitModels(open[0], open.slice(1), spec), close };
  } catch (error) {
    close();
    throw error;
  }
}

/** The same for models that are open already. @throws UserError where they do not fit each other */
export function fitModels(
  base: Checkpoint,
  tuned: readonly Checkpoint[],
  spec: MergeSpec,
): Omit<MergeModels, "close"> {
  for (const model of tuned) checkArchitecture(base, model);
  const withHeads = headsFit(base, tuned, spec);
  return { base, tuned, lines: plan(base, tuned, withHeads, spec), withHeads };
}

function checkArchitecture(base: Checkpoint, tuned: Checkpoint): void {
  const refuse = (what: string): never => {
    throw new UserError(`${tuned.path}: cannot be merged with ${base.path}: ${what}`);
  };
  if (tuned.family !== base.family) refuse(`it is a ${tuned.family} model, the base a ${base.family} model`);
  const [a, b] = [base, tuned].map(({ config }) => withDefaults.safeParse(config).data ?? config);
  for (const key of ARCHITECTURE) {
    const [was, is] = [a[key], b[key]].map((value) => JSON.stringify(value));
    if (was !== is) refuse(`its ${key} is ${is ?? "not given"}, the base's ${was ?? "not given"}`);
  }
}

const taskHeads = (model: Checkpoint) =>
  [...model.weights.infos.keys()].filter((name) => headOf(name) === "task");

/** Whether task heads can be merged; where some can not, a refusal unless they are to be dropped. */
function headsFit(base: Checkpoint, tuned: readonly Checkpoint[], { heads }: MergeSpec): boolean {
  if (heads === "drop") return false;
  const own = taskHeads(base);
  // A pre-trained base: heads of the tuned models belong to their tasks, and Speech-FT drops them.
  if (own.length === 0) return false;
  for (const model of tuned) {
    const refuse = (what: string): never => {
      throw new UserError(
        `${model.path}: ${what} ${base.path}, so their task heads cannot be merged; --heads drop leaves heads out`,
      );
    };
    const others = taskHeads(model);
    if (own.length !== others.length || own.some((name) => !others.includes(name)))
      refuse(`has the heads ${others.join(", ") || "(none)"}, not ${own.join(", ")} as`);
    if (vocabularyOf(model) !== vocabularyOf(base)) refuse("has another vocabulary than");
  }
  return true;
}

/** The output symbols or classes of a model as one text. */
function vocabularyOf({ path, config, vocabulary }: Checkpoint): string {
  if (vocabulary !== undefined) return JSON.stringify([...vocabulary]);
  const file = join(path, "vocab.json");
  const sorted = (symbols: object) => JSON.stringify(Object.entries(symbols).sort());
  if (statSync(path).isDirectory() && existsSync(file)) return sorted(JSON.parse(readFileSync(file, "utf8")));
  return sorted((config["id2label"] as object | undefined) ?? {});
}

function plan(
  base: Checkpoint,
  tuned: readonly Checkpoint[],
  withHeads: boolean,
  { method }: MergeSpec,
): MergeLine[] {
  const lines: MergeLine[] = [];
  for (const [name, { shape, dtype }] of base.weights.infos) {
    const size = shape.reduce((a, b) => a * b, 1);
    const head = headOf(name);
    const add = (action: MergeLine["action"], why: string) => lines.push({ name, action, why, size });
    if (head === "pre-training") add("kept", "pre-training head of the base");
    else if (head === "task" && !withHeads) add("dropped", `${TASK_HEAD} of the base`);
    else if (!isFloat(dtype)) add("kept", `whole numbers (${dtype}) of the base`);
    else if (isMaskVector(name) && tuned.some(({ weights }) => !weights.infos.has(name)))
      add("kept", "mask vector of the base, which not every tuned model has");
    else add("merged", method);
  }
  const merged = new Map(
    lines
      .filter(({ action }) => action === "merged")
      .map(({ name }) => [name, base.weights.infos.get(name)!]),
  );
  for (const model of tuned) {
    const faults: string[] = [];
    for (const [name, { shape }] of merged) {
      const other = model.weights.infos.get(name);
      if (other === undefined) faults.push(`"${name}" is missing`);
      else if (!isFloat(other.dtype)) faults.push(`"${name}" holds ${other.dtype}`);
      else if (other.shape.join() !== shape.join())
        faults.push(`"${name}" is [${other.shape.join(", ")}] instead of [${shape.join(", ")}]`);
    }
    for (const [name, { shape }] of model.weights.infos) {
      if (base.weights.infos.has(name)) continue;
      const size = shape.reduce((a, b) => a * b, 1);
      const head = headOf(name);
      if (head === undefined && !isMaskVector(name)) faults.push(`"${name}" is not in the base`);
      else
        lines.push({
          name,
          action: "dropped",
          why: `${head === "task" ? TASK_HEAD : (head ?? "mask vector")} of ${model.path}`,
          size,
        });
    }
    if (faults.length > 0) {
      const more = faults.length > 6 ? ` and ${faults.length - 6} more` : "";
      throw new UserError(
        `${model.path}: its tensors are not those of ${base.path}: ${faults.slice(0, 6).join("; ")}${more}`,
      );
    }
  }
  return lines;
}

// Only training hides frames: some files were saved without the vector that stands for hidden ones.
const isMaskVector = (name: string) => name.endsWith("masked_spec_embed");

/** A merge's plan for people: how many tensors fall under each rule, and some of their names. */
export function formatMergePlan(lines: readonly MergeLine[]): string[] {
  const rules = new Map<string, MergeLine[]>();
  for (const line of lines) {
    const key = JSON.stringify([line.action, line.why]);
    rules.set(key, [...(rules.get(key) ?? []), line]);
  }
  return [...rules.values()].map((group) => {
    const [{ action, why }] = group;
    const millions = group.reduce((sum, { size }) => sum + size, 0) / 1e6;
    const names = group.slice(0, 3).map(({ name }) => name);
    const more = group.length > names.length ? ", ..." : "";
    const tensors = `${group.length} tensor${group.length === 1 ? "" : "s"}, ${millions.toFixed(2)} M values`;
    return `${action.padEnd(8)} ${tensors} (${why}): ${names.join(", ")}${more}`;
  });
}
