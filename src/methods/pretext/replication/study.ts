import { existsSync } from "node:fs";
import { join } from "node:path";
import { hash32 } from "../../../random.ts";
import { LOG_MEL } from "../../../superb/index.ts";
import { parseRecipe, type Recipe } from "../../../train/recipe.ts";
import { readRun } from "../../../train/run-folder.ts";
import { train } from "../../../train/trainer.ts";
import { type Probed, probeModel } from "../../speech-ft/probing.ts";
import { allOf, type Work } from "../../speech-ft/replication/work.ts";
import { speechCandidates } from "../candidates.ts";
import type { Data } from "./data.ts";
import { described, EXTENDED, type Extended, type Selected, selectFor, weightsFile } from "./selection.ts";
import { type Family, type Size, TASKS, type Task } from "./size.ts";

/** Groups of pretext tasks (Table II), in the order of their runs: the paper's proposal against each of the others. */
export const GROUPS = ["sparsemax", "all", "softmax", "mrmr", "rfe"] as const;
export type Group = (typeof GROUPS)[number];

/** What a model learned from. */
export type Pretext =
  /** Mel spectrogram and MFCC only. */
  | "no labels"
  | Group
  | Extended
  /** One label beside them (Fig. 2). */
  | `only ${string}`
  /** wav2vec 2.0 by itself, and with 0.5 for every label (Table III). */
  | "alone"
  | "naive";

export const MEL_FEATURES = "log-mel";

/** The error of one model on one task with one seed. */
export interface Row {
  /** `log-mel`, or a family and what it learned from: "pase sparsemax". */
  readonly model: string;
  readonly task: Task;
  readonly seed: number;
  /** Phoneme error rate, equal error rate, or 1 - accuracy. */
  readonly error: number;
}

interface Strand {
  readonly rows: Row[];
  readonly failed: string[];
}

export interface Setup {
  readonly data: Data;
  readonly size: Size;
  readonly folder: string;
  readonly threads: number;
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
}

/** Everything that is selected, pre-trained and probed, in an order that has every comparison early. */
export class Study {
  /** What each strand of the work came to, so that rows stand in one order however many jobs there are. */
  private readonly strands: Strand[] = [];
  readonly selected: Partial<Record<Task, Selected>> = {};
  private readonly setup: Setup;
  private readonly work: Work;

  constructor(setup: Setup, work: Work) {
    this.setup = setup;
    this.work = work;
  }

  get rows(): readonly Row[] {
    return this.strands.flatMap(({ rows }) => rows);
  }

  /** What ended in an error, each once. */
  get failed(): readonly string[] {
    return [...new Set(this.strands.flatMap(({ failed }) => failed))];
  }

  /**
   * All of it; stops where `Work` does. The headline rows come first, then what the paper adds to them, then the ranking of
   * single labels. Seeds are the outer loop: what there is no time for is missing for all alike.
   */
  async run(): Promise<void> {
    const { seeds, single } = this.setup.size;
    for (const task of TASKS) await this.select(task);
    const pase = (seed: number, pretexts: readonly Pretext[]) =>
      pretexts.map((pretext) => this.each("pase", pretext, seed));
    for (const seed of seeds)
      await allOf([
        this.probe(this.strand(), MEL_FEATURES, seed, LOG_MEL),
        ...pase(seed, ["no labels", ...GROUPS]),
        ...(["alone", "sparsemax", "naive"] as const).map((pretext) => this.each("wav2vec2", pretext, seed)),
      ]);
    for (const seed of seeds) await allOf(pase(seed, EXTENDED));
    await allOf(
      pase(
        seeds[0],
        single.map((label) => `only ${label}` as const),
      ),
    );
  }

  private strand(): Strand {
    const strand = { rows: [], failed: [] };
    this.strands.push(strand);
    return strand;
  }

  /** A way of pre-training: once for all tasks, or for each task with its weights. */
  private async each(family: Family, pretext: Pretext, seed: number): Promise<void> {
    const model = `${family} ${pretext}`;
    const strand = this.strand();
    if (!byTask(pretext)) {
      const folder = await this.pretrained(strand, family, pretext, TASKS[0], seed);
      if (folder !== undefined) await this.probe(strand, model, seed, folder);
      return;
    }
    // The paper's own weights are tried on the tasks that they were not chosen for, too.
    const elsewhere = family === "pase" && pretext === "sparsemax";
    for (const task of TASKS) {
      const folder = await this.pretrained(strand, family, pretext, task, seed);
      if (folder === undefined) continue;
      const tasks = elsewhere ? TASKS : [task];
      await this.probe(strand, model, seed, folder, tasks, task);
    }
  }

  private selectionFolder(task: Task): string {
    return join(this.setup.folder, "selection", task);
  }

  private async select(task: Task): Promise<void> {
    const { data, size } = this.setup;
    const key = JSON.stringify([size.perClass[task], size.maxSeconds, described]);
    const done = await this.work.do("select", `select-${task}`, key, () =>
      selectFor(task, data, size, this.selectionFolder(task), this.setup),
    );
    if (done?.result !== undefined) this.selected[task] = done.result;
  }

  /** The folder of a pre-trained model; undefined where its run failed. Equal weights are trained once. */
  private async pretrained(
    strand: Strand,
    family: Family,
    pretext: Pretext,
    task: Task,
    seed: number,
  ): Promise<string | undefined> {
    const { size, folder, threads, signal, data } = this.setup;
    // Before the selection, a plan can only count on different weights for each task.
    if (this.work.planning && this.selected[task] === undefined) {
      const name = `pretrain-${family}-${pretext}${byTask(pretext) ? `-${task}` : ""}-${seed}`;
      await this.work.do(`pre-train ${family}`, slug(name), "", async () => ({}));
      return name;
    }
    const from = this.selectionFolder(task);
    const recipe = recipeOf(family, pretext, { size, seed, threads, from });
    // Threads change the last bits, not what is compared.
    const key = JSON.stringify({ ...recipe, threads: 0 });
    const name = `${family}-${hash32(JSON.stringify(recipe.objectives)).toString(16)}-${seed}`;
    const out = join(folder, "runs", name);
    const done = await this.work.do(`pre-train ${family}`, `pretrain-${name}`, key, () =>
      finished(recipe, out, data.pretraining, signal),
    );
    if (done?.error !== undefined) {
      strand.failed.push(`${family} ${pretext}, seed ${seed}: ${done.error}`);
      return undefined;
    }
    return out;
  }

  /** Heads on one model's hidden states, which are computed once for all of them. @param own the task of its weights, if any */
  private async probe(
    strand: Strand,
    model: string,
    seed: number,
    folder: string,
    tasks: readonly Task[] = TASKS,
    own?: Task,
  ): Promise<void> {
    const { size, data, threads, signal, log } = this.setup;
    const name = slug(`probe-${model}${own === undefined ? "" : `-${own}`}-${seed}`);
    // What a plan expects changes no result.
    const key = JSON.stringify([folder, tasks, { ...size, seconds: {} }]);
    const kind = tasks.length === 1 ? "probe" : `probe on ${tasks.length} tasks`;
    const done = await this.work.do<Probed>(kind, name, key, () =>
      probeModel(
        folder,
        `${model} ${own ?? ""} ${seed}`,
        tasks.map((task) => data.probes[task]),
        {
          ...{ folder: join(this.setup.folder, "probes", name), seeds: [seed], steps: size.probeSteps },
          ...{ threads, signal, log: (line: string) => log(`  ${line}`) },
        },
      ),
    );
    if (done?.error !== undefined)
      strand.failed.push(`${model} on ${tasks.join(", ")}, seed ${seed}: ${done.error}`);
    for (const task of tasks) {
      const headline = done?.result?.find((result) => result.task === data.probes[task].name)?.headline;
      if (headline === undefined) continue;
      const error = headline.higher ? 1 - headline.value : headline.value;
      const said = own === undefined || own === task ? model : `${model} for ${own}`;
      strand.rows.push({ model: said, task, seed, error });
    }
  }
}

const isExtended = (pretext: Pretext): pretext is Extended =>
  (EXTENDED as readonly Pretext[]).includes(pretext);
const isWeighed = (pretext: Pretext): pretext is Group | Extended =>
  isExtended(pretext) || (GROUPS as readonly Pretext[]).includes(pretext);

/** Whether a way of pre-training differs from task to task. */
const byTask = (pretext: Pretext): boolean => isWeighed(pretext) && pretext !== "all";

const slug = (text: string) => text.replace(/[^\w.+-]+/g, "-");

interface RecipeOptions {
  readonly size: Size;
  readonly seed: number;
  readonly threads: number;
  /** Folder of the task's selection. */
  readonly from: string;
}

/** The recipe of a pre-training run. */
export function recipeOf(
  family: Family,
  pretext: Pretext,
  { size, seed, threads, from }: RecipeOptions,
): Recipe {
  const { config, steps, batch } = size.encoders[family];
  const recipe = {
    ...{ name: `pretext-${family}`, seed, threads, steps, upstream: { config } },
    corpus: { manifest: "manifest.jsonl", split: { by: "field" } },
    ...(family === "pase" ? paseObjectives(pretext, from) : codeObjectives(pretext, from)),
    plan: { freeze: [] },
    ...(family === "pase"
      ? {
          // As the released settings; the text says rho 0.8.
          optimizer: { name: "adadelta", lr: 1, rho: 0.95, eps: 1e-8, clip: 5 },
          schedule: { name: "newbob", factor: 0.75, threshold: 0.0025 },
        }
      : {
          optimizer: { name: "adamw", lr: 1.5e-3, weightDecay: 0.01, clip: 5 },
          schedule: { name: "warmup-hold-decay", warmup: 0.1, hold: 0.4 },
        }),
    batch: { size: batch, maxSeconds: 60 },
    evaluate: { every: Math.max(1, Math.ceil(steps / 5)), batch: 12 },
  };
  return parseRecipe(JSON.stringify(recipe), "results pretext-selection");
}

/** MSE of mel and MFCC with weight 1 and L1 of each label with its lambda (eq. 11); of weighed spectra L1, too (eq. 13). */
function paseObjectives(pretext: Pretext, from: string) {
  if (isWeighed(pretext)) return { objectives: {}, workers: workersOf(pretext, from) };
  const spectra = { mel: { loss: "worker", signal: "mel" }, mfcc: { loss: "worker", signal: "mfcc" } };
  if (!pretext.startsWith("only ")) return { objectives: spectra };
  const signal = pretext.slice("only ".length);
  return { objectives: { ...spectra, [signal]: { loss: "worker", signal } } };
}

const workersOf = (pretext: Group | Extended, folder: string) => ({
  from: join(folder, weightsFile(pretext)),
  method: isExtended(pretext) ? "sparsemax" : pretext,
});

/** wav2vec 2.0's own loss, and L1 of each label with its lambda, read off the transformer's input as in the released code (eq. 12). */
function codeObjectives(pretext: Pretext, from: string) {
  const objectives = {
    contrastive: { loss: "contrastive" },
    diversity: { loss: "code-diversity", weight: 0.1 },
    penalty: { loss: "feature-penalty", weight: 0.1 },
  };
  if (pretext === "alone") return { objectives };
  if (pretext === "naive") {
    const labels = speechCandidates.map((signal) => [
      signal,
      { loss: "worker", signal, weight: 0.5, layer: 0 },
    ]);
    return { objectives: { ...objectives, ...Object.fromEntries(labels) } };
  }
  if (!isWeighed(pretext)) throw new Error(`wav2vec 2.0 is not trained with ${pretext}`);
  const none = { mel: { weight: 0 }, mfcc: { weight: 0 } };
  return { objectives: { ...objectives, ...none }, workers: { ...workersOf(pretext, from), layer: 0 } };
}

/** Trains a recipe in its folder, or goes on with what an interrupted call left there. */
async function finished(recipe: Recipe, out: string, data: string, signal: AbortSignal) {
  const before = existsSync(join(out, "run.json")) ? readRun(out) : undefined;
  if (before?.status === "finished") return before.metrics ?? {};
  const result = await train(recipe, { data, out, skipBad: false, signal, log: () => {} });
  // Work.do asks the signal before it takes this for a result.
  if (result.status === "interrupted") throw new Error("interrupted");
  return result.metrics;
}
