import { availableParallelism } from "node:os";
import { dirname } from "node:path";
import { RunError, UserError } from "../errors.ts";
import { newBob, newBobStart } from "../nn/schedules.ts";
import { type DataOptions, hashOf, PARTS } from "./data.ts";
import { type Evaluation, Evaluator } from "./evaluation.ts";
import { exportLast, finishRun } from "./finish.ts";
import { checkBlank, checkBuffer, checkCollapse, checkFinite, type Slot } from "./guard.ts";
import { recordLineage } from "./lineage-of-run.ts";
import { openLog, type RunLog, readLog } from "./log.ts";
import { Optimiser } from "./optimiser.ts";
import { closeStreams, type Prepared, prepare } from "./prepare.ts";
import { type Progress, progress } from "./progress.ts";
import type { Recipe } from "./recipe-schema.ts";
import { openRun, type RunFolder } from "./run-folder.ts";
import { type RunState, RunStates } from "./run-state.ts";
import { Stepper } from "./stepper.ts";
import { openEvents } from "./tensorboard.ts";

export interface TrainOptions extends Omit<DataOptions, "cache"> {
  /** The run's folder. */
  readonly out: string;
  /** Go on with an unfinished run or fail; without it, go on where there is one and start where there is none. */
  readonly resume?: boolean;
  /** Replace what the folder holds. */
  readonly overwrite?: boolean;
  /** Raised to save and stop. */
  readonly signal?: AbortSignal;
  /** Makes what else belongs in the folder (report, model card) before the run counts as finished. */
  readonly publish?: (folder: string, metrics: Readonly<Record<string, number>>) => Promise<void>;
}

export interface TrainResult {
  readonly status: "finished" | "interrupted";
  readonly folder: string;
  /** Updates done. */
  readonly step: number;
  readonly metrics: Readonly<Record<string, number>>;
}

/**
 * Trains a recipe into a folder, or goes on with what a killed or stopped process left there.
 * @throws UserError before anything is written, for whatever is wrong with recipe, model or data; RunError where a guard stops the run
 */
export async function train(recipe: Recipe, options: TrainOptions): Promise<TrainResult> {
  const prepared = await prepare(recipe, { ...options, cache: dirname(options.out) });
  try {
    const run = openRun(options.out, recipe, { overwrite: options.overwrite, mustExist: options.resume });
    try {
      const hash = hashOf(prepared.streams);
      if (run.info.data !== undefined && run.info.data.hash !== hash)
        throw new UserError(
          `${options.out}: holds an unfinished run on other data; choose another --out, or --overwrite to replace it`,
        );
      run.update({ data: { hash, utterances: utteranceCounts(prepared) } });
      recordLineage(run, prepared);
      return await new Trainer(prepared, run, options).run();
    } catch (error) {
      if (error instanceof RunError) run.update({ status: "failed", error: error.message });
      throw error;
    } finally {
      run.release();
    }
  } finally {
    await closeStreams(prepared.streams);
  }
}

const utteranceCounts = ({ streams }: Prepared): Record<string, number> =>
  Object.fromEntries(PARTS.map((part) => [part, streams.reduce((n, s) => n + s.parts[part].length, 0)]));

/** Added to the number of a stretch once pruning has reached its sparsity. */
const PRUNED = 1_000_000;

class Trainer {
  private readonly prepared: Prepared;
  private readonly folder: RunFolder;
  private readonly options: TrainOptions;
  private readonly states: RunStates;
  private state: RunState = { step: 0, updates: {}, best: null, newBob: null, blanks: {}, collapsed: {} };
  private readonly slots: Slot[];
  private saved = { step: -1, at: performance.now() };

  constructor(prepared: Prepared, run: RunFolder, options: TrainOptions) {
    this.prepared = prepared;
    this.folder = run;
    this.options = options;
    const { recipe, store } = prepared;
    this.states = new RunStates(run.file("checkpoints"), recipe.checkpoint.keep);
    if (recipe.schedule.name === "newbob") this.state.newBob = newBobStart(recipe.schedule);
    this.slots = [...store.spans.values()].map(({ name, start, end }) => ({
      name,
      offset: start,
      size: end - start,
    }));
  }

  async run(): Promise<TrainResult> {
    const { recipe, store, task, training, masks, pruner, totalSteps, orders } = this.prepared;
    const threads = recipe.threads || availableParallelism();
    const program = { threads };
    const optimiser = new Optimiser(recipe.optimizer, store, program);
    const stepper = new Stepper({
      task,
      store,
      optimiser,
      optimizer: recipe.optimizer,
      training,
      masks,
      recompute: recipe.plan.recompute,
      anchor: recipe.plan.anchor,
      augment: recipe.augment,
      seed: recipe.seed,
      program,
      largest: ({ name }) => orders.get(name)!.largest(),
    });
    const evaluator = new Evaluator(task, store, { ...program, batch: recipe.evaluate.batch });
    const buffers = { weights: store.weights.subarray(0, store.trainedSize), ...optimiser.states };
    const resumed = this.states.load(buffers, this.options.log);
    if (resumed !== undefined) {
      this.state = resumed;
      masks?.apply();
      pruner?.resume(resumed.step);
    } else pruner?.after(0);
    Object.assign(stepper.updates, this.state.updates);
    const log = logAndEvents(this.folder, this.state.step);
    const shown = progress({ label: "training", total: totalSteps, start: this.state.step });
    try {
      if (this.state.step > 0) this.options.log(`resuming after step ${this.state.step} of ${totalSteps}`);
      else this.begin(log);
      const finished = await this.loop(stepper, evaluator, log, shown, buffers);
      shown.end();
      if (!finished) {
        this.folder.update({ status: "interrupted" });
        return { status: "interrupted", folder: this.folder.path, step: this.state.step, metrics: {} };
      }
      if (recipe.checkpoint.last) exportLast(this.folder, this.prepared);
      if (this.state.best !== null) this.states.loadBest(this.state.best.step, buffers.weights);
      masks?.apply();
      pruner?.finish();
      const metrics = await finishRun(this.prepared, evaluator, this.folder, this.options.log);
      await this.options.publish?.(this.folder.path, metrics);
      this.folder.update({ status: "finished", metrics });
      return { status: "finished", folder: this.folder.path, step: totalSteps, metrics };
    } finally {
      shown.end();
      log.close();
      await stepper.dispose();
      await evaluator.dispose();
      await optimiser.dispose();
    }
  }

  private begin(log: RunLog): void {
    const { store, totalSteps, task } = this.prepared;
    const parameters = store.weights.length;
    const said = `${(parameters / 1e6).toFixed(2)} M parameters, ${(store.trainedSize / 1e6).toFixed(2)} M of them train; ${totalSteps} steps`;
    this.options.log(said);
    if (task.model.upstream.padSensitive && !task.model.masked)
      this.options.log(
        "this model hears padding (group norm, no mask): what an utterance becomes depends a little on who shares its batch; upstream.padding=hide masks it",
      );
    log.write({ step: 0, event: "start", parameters, trained: store.trainedSize, totalSteps });
  }

  /** All updates that are left. False where a signal stopped it, with everything saved. */
  private async loop(
    stepper: Stepper,
    evaluator: Evaluator,
    log: RunLog,
    shown: Progress,
    buffers: Record<string, Float32Array>,
  ): Promise<boolean> {
    const { recipe, streams, orders, totalSteps, headSteps, weights } = this.prepared;
    const { state } = this;
    const sources = streams.map((stream) => ({
      stream,
      batches: orders.get(stream.name)!.loaded(state.step),
    }));
    while (state.step < totalSteps) {
      if (this.options.signal?.aborted) {
        this.save(log, buffers);
        return false;
      }
      const { step } = state;
      const batches = [];
      for (const source of sources)
        batches.push({ stream: source.stream, batches: (await source.batches.next()).value });
      const lr = recipe.optimizer.lr * this.factor(step);
      const { loss, losses, measures, reached } = await stepper.gradients(
        step,
        batches,
        weights.at(step),
        step < headSteps,
      );
      if (recipe.guards.finite) this.checkLosses(losses, step);
      const norm = await stepper.update(reached, lr);
      if (recipe.guards.finite && !Number.isFinite(norm)) {
        const { gradients } = this.prepared.store;
        checkBuffer("the gradient", gradients, this.trainedSlots(), step + 1);
        checkFinite("the norm of the gradients", norm, step + 1);
      }
      state.step++;
      this.prepared.pruner?.after(state.step, this.evaluationDue());
      state.updates = stepper.updates;
      log.write({ step: state.step, event: "train", loss, losses, ...extra(measures), lr, norm });
      shown.update(state.step, `loss ${loss.toPrecision(4)}`);
      if (this.evaluationDue()) await this.evaluate(evaluator, log, shown);
      if (this.checkpointDue()) this.save(log, buffers);
    }
    if (this.saved.step !== state.step) this.save(log, buffers);
    return true;
  }

  private factor(step: number): number {
    return this.prepared.schedule?.(step) ?? this.state.newBob?.factor ?? 1;
  }

  private checkLosses(losses: Readonly<Record<string, number>>, step: number): void {
    for (const [name, value] of Object.entries(losses)) {
      if (Number.isFinite(value)) continue;
      // A loss that is not a number is often the echo of a parameter that already was none.
      checkBuffer("the value", this.prepared.store.weights, this.slots, step + 1);
      checkFinite(`the loss of ${name}`, value, step + 1);
    }
  }

  private trainedSlots(): Slot[] {
    return this.slots.filter(({ name }) => this.prepared.store.isTrained(name));
  }

  private evaluationDue(): boolean {
    const { recipe, orders, totalSteps } = this.prepared;
    const { step } = this.state;
    const { every } = recipe.evaluate;
    return (
      step === totalSteps || (every === "epoch" ? orders.get("main")!.endsEpoch(step) : step % every === 0)
    );
  }

  private checkpointDue(): boolean {
    const { everySteps, everyMinutes } = this.prepared.recipe.checkpoint;
    const minutes = (performance.now() - this.saved.at) / 60_000;
    return (
      (everySteps > 0 && this.state.step % everySteps === 0) || (everyMinutes > 0 && minutes >= everyMinutes)
    );
  }

  private save(log: RunLog, buffers: Record<string, Float32Array>): void {
    log.sync();
    this.states.save(this.state, buffers);
    this.folder.update({});
    this.saved = { step: this.state.step, at: performance.now() };
  }

  private async evaluate(evaluator: Evaluator, log: RunLog, shown: Progress): Promise<void> {
    const { recipe, streams, weights, store } = this.prepared;
    const { state } = this;
    const result = await evaluator.evaluate(streams, "valid");
    if (result === undefined) return;
    // The weights that the last update had; a new stretch is judged from its own first update on.
    const loss = totalLoss(result, weights.at(state.step - 1));
    const { best: metric, mode } = recipe.evaluate;
    const value = metric === "loss" ? loss : result.metrics[metric];
    const { pruner } = this.prepared;
    // A model of less than the sparsity that was asked for is no candidate beside one that has it.
    const stretch = weights.stretch(state.step - 1) + (pruner?.reached(state.step) ? PRUNED : 0);
    const last = state.best?.stretch === stretch ? state.best : null;
    const better = last === null || (mode === "max" ? value > last.value : value < last.value);
    if (better) {
      state.best = { step: state.step, value, stretch };
      this.states.saveBest(state.step, store.weights.subarray(0, store.trainedSize));
    }
    log.write({ step: state.step, event: "valid", loss, metrics: { ...result.metrics }, best: better });
    shown.print(evaluationLine(state.step, loss, result, better));
    if (recipe.guards.finite)
      for (const [name, v] of Object.entries(result.metrics))
        if (name.endsWith(".loss")) checkFinite(`the validation loss of ${name.slice(0, -5)}`, v, state.step);
    if (state.newBob !== null && recipe.schedule.name === "newbob")
      state.newBob = newBob(recipe.schedule, state.newBob, loss);
    state.blanks = checkBlank(state.blanks, result.symbols, recipe.guards.blankEvaluations, state.step);
    state.collapsed = checkCollapse(
      state.collapsed,
      perplexities(result.metrics),
      recipe.guards.collapse,
      state.step,
    );
  }
}

/** How many codes each objective of pre-training uses, by its name. */
const perplexities = (metrics: Evaluation["metrics"]): Record<string, number> =>
  Object.fromEntries(
    Object.entries(metrics).flatMap(([name, value]) => {
      const [objective, metric] = name.split(".");
      return /perplexity$/i.test(metric) ? [[objective, value] as const] : [];
    }),
  );

const totalLoss = ({ metrics }: Evaluation, weights: Readonly<Record<string, number>>): number =>
  // An objective whose stream has no validation part has no validation loss either.
  Object.entries(weights).reduce(
    (sum, [name, w]) => sum + (w > 0 ? w * (metrics[`${name}.loss`] ?? 0) : 0),
    0,
  );

/** The run's log, each line of it as an event for TensorBoard too. */
function logAndEvents(folder: RunFolder, resumeAt: number): RunLog {
  const path = folder.file("log.jsonl");
  const log = openLog(path, resumeAt);
  const events = openEvents(folder.path, readLog(path));
  return {
    ...log,
    write(record) {
      log.write(record);
      events.write(record);
    },
    close() {
      log.close();
      events.close();
    },
  };
}

/** Only losses with something to measure add a key to the log. */
const extra = (measures: Readonly<Record<string, number>>): Record<string, Record<string, number>> =>
  Object.keys(measures).length > 0 ? { measures: { ...measures } } : {};

function evaluationLine(step: number, loss: number, { metrics }: Evaluation, better: boolean): string {
  const shown = Object.entries(metrics).filter(([name]) => !name.endsWith(".loss"));
  const parts = shown.map(([name, value]) => `, ${name} ${value.toFixed(4)}`);
  return `step ${step}: validation loss ${loss.toPrecision(4)}${parts.join("")}${better ? " (best so far)" : ""}`;
}
