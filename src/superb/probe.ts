import { withDurations } from "../corpus/readers/reader.ts";
import { UserError } from "../errors.ts";
import { type SuperbScore, superbScore } from "../metrics/superb-score.ts";
import { overlap } from "../train/lineage.ts";
import { progress } from "../train/progress.ts";
import { type AdaptedUpstream, openAdapted } from "./adapted.ts";
import { FeatureCache } from "./cache.ts";
import { FeatureSource, type Heard } from "./features.ts";
import { Hearing } from "./hearing.ts";
import { groupsOf, Order } from "./order.ts";
import { type Found, meanColumns, type ProbeResult, ResultFolder } from "./results.ts";
import type { Adaptation, LearnedTask, ProbeTask } from "./task.ts";
import { HeadTrainer } from "./trainer.ts";
import { type FrozenUpstream, openUpstream } from "./upstream.ts";

export { meanColumns, type ProbeResult } from "./results.ts";

export interface ProbeOptions {
  /** What results call the model; by default the last part of its path. */
  readonly name?: string;
  /** Folder of the cached hidden states; without it they are computed whenever they are needed. */
  readonly cache?: string;
  /** Gigabytes that the cache may take (default 20). What does not fit is computed again each time. */
  readonly cacheGb?: number;
  /** Folder for results, predictions, heads and checkpoints; a later call goes on from what it finds there. */
  readonly out?: string;
  readonly seed?: number;
  readonly threads?: number;
  /** Updates instead of the recipes' own, or a factor below 1 of them. */
  readonly steps?: number;
  /** Probe even on test utterances that the model or an ancestor of it trained on. */
  readonly allowOverlap?: boolean;
  /** How the model itself trains with each head; without it, it is frozen. Only for a model that is given by its path. */
  readonly adaptation?: Adaptation;
  readonly signal?: AbortSignal;
  readonly log?: (line: string) => void;
}

export interface ProbeReport {
  readonly model: { readonly name: string; readonly hash: string };
  readonly results: readonly ProbeResult[];
  /** Over the official tasks among them; absent where there are none. */
  readonly score?: SuperbScore;
  /** Seconds of the upstream's forward passes, and of everything. */
  readonly seconds: { readonly extraction: number; readonly total: number };
  /** How often the upstream ran and how often the cache had the answer. */
  readonly features: { readonly computed: number; readonly cached: number };
  /** Tasks without a result, because the work was interrupted. */
  readonly left: readonly string[];
}

/**
 * Probes a frozen model on tasks: hidden states are computed once, and every head is trained from them; heads on the
 * same recordings share each batch. Under an `adaptation` each task trains a copy of the model with its head. @throws UserError for overlap with what the model trained on, unless allowed
 */
export async function probe(
  model: string | FrozenUpstream,
  tasks: readonly ProbeTask[],
  options: ProbeOptions = {},
): Promise<ProbeReport> {
  const { adaptation } = options;
  const upstream: FrozenUpstream & Partial<AdaptedUpstream> =
    typeof model !== "string"
      ? model
      : adaptation === undefined
        ? await openUpstream(model, options)
        : await openAdapted(model, adaptation, options);
  const cache =
    options.cache === undefined || upstream.adapted !== undefined
      ? undefined
      : new FeatureCache(options.cache, upstream.hash, (options.cacheGb ?? 20) * 1e9);
  try {
    const wanted = tasks.map((task) => adaptedTask(shortened(task, options.steps), upstream.adapted?.how));
    return await new Suite(upstream, cache, options).run(wanted);
  } finally {
    cache?.close();
    if (typeof model === "string") await upstream.dispose();
  }
}

/** A task with other numbers of updates. */
function shortened(task: ProbeTask, steps: number | undefined): ProbeTask {
  if (steps === undefined || task.recipe.steps === 0) return task;
  const { recipe } = task;
  const wanted = Math.max(1, Math.round(steps < 1 ? recipe.steps * steps : steps));
  const evaluateEvery = Math.max(1, Math.round((recipe.evaluateEvery * wanted) / recipe.steps));
  return { ...task, recipe: { ...recipe, steps: wanted, evaluateEvery } };
}

/** The task with the way in which the upstream trains as a part of its recipe. @throws UserError where nothing is learned */
function adaptedTask(task: ProbeTask, adaptation: Adaptation | undefined): ProbeTask {
  if (adaptation === undefined) return task;
  if ("measure" in task) throw new UserError(`--train: the task ${task.name} trains nothing`);
  return { ...task, recipe: { ...task.recipe, adaptation } };
}

/** Seconds between checkpoints. */
const CHECKPOINT = 60;

class Suite {
  private readonly upstream: FrozenUpstream & Partial<AdaptedUpstream>;
  private readonly cache: FeatureCache | undefined;
  private readonly source: FeatureSource;
  private readonly hearing: Hearing;
  private readonly options: ProbeOptions;
  private readonly seed: number;
  private readonly log: (line: string) => void;
  private readonly results: ResultFolder;

  constructor(
    upstream: FrozenUpstream & Partial<AdaptedUpstream>,
    cache: FeatureCache | undefined,
    options: ProbeOptions,
  ) {
    this.upstream = upstream;
    this.cache = cache;
    this.source = new FeatureSource(upstream, cache);
    this.hearing = new Hearing(upstream, this.source);
    this.options = options;
    this.seed = options.seed ?? 0;
    this.log = options.log ?? (() => {});
    const { name, hash } = upstream;
    this.results = new ResultFolder(options.out, { name, hash }, this.seed, this.log);
  }

  async run(given: readonly ProbeTask[]): Promise<ProbeReport> {
    const began = performance.now();
    const tasks = await Promise.all(given.map(timed));
    const overlaps = new Map(tasks.map((task) => [task.name, this.overlapOf(task)]));
    this.refuseOverlap(overlaps);
    const results = new Map<string, ProbeResult>();
    for (const task of tasks) {
      const known = this.results.finished(task);
      if (known !== undefined) results.set(task.name, known);
    }
    const open = tasks.filter(({ name }) => !results.has(name));
    const extraction = await this.extract(open);
    const finish = (task: ProbeTask, found: Found) =>
      results.set(task.name, this.results.save(task, found, overlaps.get(task.name)));
    for (const task of open) {
      if (!("measure" in task) || this.options.signal?.aborted) continue;
      const start = performance.now();
      const { metrics, predictions, layer } = await task.measure(this.source, this.log);
      const layerWeights = Array.from({ length: this.upstream.layers }, (_, i) => (i === layer ? 1 : 0));
      finish(task, { metrics, predictions, layerWeights, steps: 0, seconds: secondsSince(start) });
    }
    const learned = open.filter((task): task is LearnedTask => "learner" in task);
    // An upstream that trains is each task's own.
    for (const group of this.upstream.adapted === undefined
      ? groupsOf(learned)
      : learned.map((task) => [task]))
      await this.train(group, finish);
    const { name, hash } = this.upstream;
    const inOrder = tasks.flatMap((task) => results.get(task.name) ?? []);
    const columns = meanColumns(inOrder);
    const report: ProbeReport = {
      model: { name, hash },
      results: inOrder,
      ...(Object.keys(columns).length > 0 && { score: superbScore(columns) }),
      seconds: { extraction, total: secondsSince(began) },
      features: this.source.counts,
      left: tasks.map((task) => task.name).filter((each) => !results.has(each)),
    };
    this.results.saveReport(report);
    return report;
  }

  private overlapOf({ items, parts }: ProbeTask): number | undefined {
    const { lineage } = this.upstream;
    if (lineage === undefined) return undefined;
    return overlap(
      lineage,
      parts.test.map((i) => items[i].utterance),
    ).length;
  }

  private refuseOverlap(overlaps: ReadonlyMap<string, number | undefined>): void {
    const found = [...overlaps].filter(([, count]) => (count ?? 0) > 0);
    if (found.length === 0) return;
    const said = found.map(([name, count]) => `${name} (${count})`).join(", ");
    if (this.options.allowOverlap) {
      this.log(`test utterances that ${this.upstream.name} or an ancestor of it trained on: ${said}`);
      return;
    }
    throw new UserError(
      `${this.upstream.name}: it or an ancestor of it trained on test utterances of ${said}; a score there measures ` +
        "memory: leave the task out, or ask for it with --allow-overlap",
    );
  }

  /** Computes what is not cached, as far as it fits; training recordings first, since they are heard most often. */
  private async extract(tasks: readonly ProbeTask[]): Promise<number> {
    const wanted = new Map<string, Heard>();
    for (const part of ["train", "valid", "test"] as const)
      for (const { items, parts } of tasks)
        for (const i of parts[part]) wanted.set(JSON.stringify(items[i]), items[i]);
    const all = [...wanted.values()];
    if (this.cache === undefined || all.length === 0) return 0;
    const bytes = this.source.predictedBytes(all);
    const missing = all.filter((heard) => !this.source.isCached(heard));
    const fits = this.source.predictedBytes(missing) <= this.cache.room();
    this.log(
      `hidden states of ${all.length} recordings: ${gigabytes(bytes)}, ${all.length - missing.length} of them cached` +
        (fits ? "" : `; ${gigabytes(this.cache.room())} are free, the rest is computed again each time`),
    );
    const began = performance.now();
    const shown = progress({ label: "hidden states", total: missing.length });
    for (const [done, heard] of missing.entries()) {
      if (this.options.signal?.aborted) break;
      const features = await this.source.get(heard);
      shown.update(done + 1);
      if (!this.source.isCached(heard) && features.frames > 0) break;
    }
    shown.end();
    return secondsSince(began);
  }

  /** Trains the heads of tasks that hear the same recordings: each batch is read once for all of them. */
  private async train(tasks: readonly LearnedTask[], finish: (task: LearnedTask, found: Found) => void) {
    const { threads, signal } = this.options;
    const began = performance.now();
    const trainers = tasks.map((task) => new HeadTrainer(task, this.upstream, this.seed, threads));
    try {
      for (const trainer of trainers) this.results.restore(trainer);
      const total = Math.max(...tasks.map(({ recipe }) => recipe.steps));
      const label = tasks.map(({ name }) => name).join("+");
      const start = Math.min(...trainers.map(({ step }) => step));
      const shown = progress({ label, total, start });
      const batches = new Order(tasks[0], this.source, this.seed);
      let saved = performance.now();
      for (let step = start; step < total && !signal?.aborted; step++) {
        const active = trainers.filter((trainer) => !trainer.done && trainer.step === step);
        // Heads that go on from different updates: nobody is here yet.
        if (active.length === 0) continue;
        const read = await this.hearing.read(tasks[0], "train", batches.at(step));
        for (const trainer of active) await trainer.update(read);
        const due = active.filter((trainer) => trainer.due);
        if (due.length > 0) {
          const metrics = await this.hearing.evaluate(due, "valid");
          for (const trainer of due) {
            const found = metrics.get(trainer)!.metrics;
            const better = trainer.judge(found);
            const shownMetrics = Object.entries(found).map(([name, value]) => `${name} ${value.toFixed(4)}`);
            const line = `${trainer.task.name} ${trainer.step}: loss ${trainer.takeLoss().toFixed(4)}, ${shownMetrics.join(", ")}${better ? " (best)" : ""}`;
            shown.print(line);
          }
        }
        shown.update(step + 1);
        if (secondsSince(saved) > CHECKPOINT) {
          for (const trainer of trainers) this.results.checkpoint(trainer);
          saved = performance.now();
        }
      }
      shown.end();
      if (signal?.aborted) {
        for (const trainer of trainers) this.results.checkpoint(trainer);
        return;
      }
      for (const trainer of trainers) trainer.recall();
      const tested = await this.hearing.evaluate(trainers, "test");
      for (const trainer of trainers) {
        const { metrics, lines } = tested.get(trainer)!;
        this.results.saveHead(trainer);
        finish(trainer.task, {
          metrics,
          predictions: lines(),
          layerWeights: trainer.layerWeights(),
          steps: trainer.step,
          best: trainer.best,
          seconds: secondsSince(began),
        });
      }
    } finally {
      for (const trainer of trainers) await trainer.dispose();
    }
  }
}

/** Durations of all recordings: the cache's size is predicted from them. */
export async function timed(task: ProbeTask): Promise<ProbeTask> {
  const utterances = await withDurations(task.items.map(({ utterance }) => utterance));
  return { ...task, items: task.items.map((heard, i) => ({ ...heard, utterance: utterances[i] })) };
}

const secondsSince = (start: number) => (performance.now() - start) / 1000;
const gigabytes = (bytes: number) =>
  bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
