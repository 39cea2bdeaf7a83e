import { createHash } from "node:crypto";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { lengthBuckets } from "../corpus/batches.ts";
import type { Vocabulary } from "../corpus/vocab.ts";
import { UserError } from "../errors.ts";
import { trainingMode } from "../nn/layers.ts";
import { type RecurrentLmConfig, recurrentLm } from "../nn/recurrent-lm.ts";
import { type NewBobSpec, type NewBobState, newBob, newBobStart } from "../nn/schedules.ts";
import { smoothedCrossEntropy } from "../nn/translation.ts";
import * as ops from "../ops/index.ts";
import { ParameterTable } from "../params/params.ts";
import { hash32 } from "../random.ts";
import { compile } from "../runtime/cpu.ts";
import { i32, type Program, type Value } from "../runtime/program.ts";
import { symbol } from "../tensor/dims.ts";
import { type Json, loadCheckpoint, saveCheckpoint } from "./checkpoint.ts";
import { writeJson } from "./export.ts";
import { checkFinite } from "./guard.ts";
import type { Sentences } from "./lm-text.ts";
import { Optimiser } from "./optimiser.ts";
import { compileTraining, evaluationGraph, gradientName } from "./program.ts";
import { progress } from "./progress.ts";
import { isRecurrentLm, recurrentLmStore, writeRecurrentLm } from "./recurrent-lm.ts";

export interface LmTraining {
  readonly out: string;
  readonly config: RecurrentLmConfig;
  readonly vocabulary: Vocabulary;
  readonly train: Sentences;
  readonly valid: Sentences;
  readonly epochs: number;
  /** Sentences of an update. */
  readonly batch: number;
  readonly lr: number;
  readonly seed: number;
  readonly threads?: number;
  readonly overwrite?: boolean;
  readonly signal?: AbortSignal;
  readonly log: (line: string) => void;
}

export interface LmResult {
  readonly status: "finished" | "interrupted";
  readonly steps: number;
  /** Of the validation sentences under the model that was kept: e to the mean loss of a symbol, the ends included. */
  readonly perplexity?: number;
}

/** What training goes on from, besides its buffers. */
interface State {
  readonly key: string;
  readonly newBob: NewBobState;
  readonly best: { readonly epoch: number; readonly loss: number } | null;
  /** Nats and symbols of the present epoch so far. */
  readonly heard: readonly [number, number];
}

const CLIP = 5;
/** Symbols of a validation batch. */
const VALID_BATCH = 64;
/** SpeechBrain's: the rate falls to 0.8 of it after an epoch that improved by less than 0.25 %. */
const SCHEDULE: NewBobSpec = { name: "newbob", factor: 0.8, threshold: 0.0025, patience: 0 };
/** Seconds between checkpoints. */
const CHECKPOINT = 60;

/**
 * Trains a recurrent language model with Adam; the model of the best validation loss is kept. A stopped or killed training goes
 * on where its last checkpoint was, and ends in the same model.
 * @throws UserError where the folder holds another model or other work
 */
export async function trainRecurrentLm(options: LmTraining): Promise<LmResult> {
  const { out, config, train, valid, batch, epochs, seed, threads, log } = options;
  const checkpoints = join(out, "checkpoints");
  if (options.overwrite) rmSync(out, { recursive: true, force: true });
  if (isRecurrentLm(out) || (existsSync(join(out, "config.json")) && !existsSync(checkpoints)))
    throw new UserError(`${out}: holds a model; choose another --out, or --overwrite to replace it`);
  mkdirSync(out, { recursive: true });
  const store = recurrentLmStore(config, true);
  store.initialise(seed);
  const optimiser = new Optimiser({ name: "adam", betas: [0.9, 0.999], eps: 1e-8 }, store, { threads });
  const best = store.weights.slice();
  const buffers = { weights: store.weights, best, ...optimiser.states };
  const key = keyOf(options);
  const found = loadCheckpoint(checkpoints, log, buffers);
  let state: State = { key, newBob: newBobStart(SCHEDULE), best: null, heard: [0, 0] };
  if (found !== undefined) {
    state = found.state as unknown as State;
    if (state.key !== key)
      throw new UserError(
        `${out}: holds an unfinished model with other text or settings; choose another --out, or --overwrite to replace it`,
      );
    log(`going on after ${found.step} updates`);
  }
  let step = found?.step ?? 0;
  const lengths = Array.from({ length: train.count }, (_, i) => train.length(i));
  const batchesOf = (epoch: number) => lengthBuckets(lengths, { batchSize: batch, seed, epoch });
  const each = batchesOf(0).length;
  const [training, evaluation] = [await compiledTraining(options, store), await compiledEvaluation(options)];
  const into = Object.fromEntries(
    Object.entries(store.gradientValues).map(([name, value]) => [gradientName(name), value]),
  );
  const shown = progress({ label: "language model", total: epochs * each, start: step });
  const save = () => saveCheckpoint(checkpoints, { step, state: state as unknown as Json, buffers }, 2);
  let saved = performance.now();
  try {
    for (let batches = batchesOf(Math.floor(step / each)); step < epochs * each; ) {
      if (options.signal?.aborted) {
        save();
        shown.end();
        return { status: "interrupted", steps: step };
      }
      const feeds = feedsOf(batches[step % each], train, options.vocabulary.blank);
      const results = await training.run(
        { ...store.values, ...feeds, seed: i32([], [hash32(seed, "lm", step) | 0]) },
        into,
      );
      const loss = (results.loss.data as Float32Array)[0];
      checkFinite("the loss", loss, step + 1);
      const norm = await optimiser.norm([{ start: 0, end: store.trainedSize }]);
      checkFinite("the norm of the gradients", norm, step + 1);
      const lr = options.lr * state.newBob.factor;
      const range = { start: 0, end: store.trainedSize, lr, weightDecay: 0, step: step + 1 };
      await optimiser.step([range], Math.min(1, CLIP / (norm + 1e-6)));
      const symbols = (feeds.counts.data as Int32Array).reduce((a, b) => a + b, 0);
      state = { ...state, heard: [state.heard[0] + loss * symbols, state.heard[1] + symbols] };
      step++;
      shown.update(step, `loss ${loss.toFixed(3)}`);
      if (step % each === 0) {
        const epoch = step / each;
        const judged = await lossOf(evaluation, store.values, valid, options.vocabulary.blank);
        const better = state.best === null || judged < state.best.loss;
        if (better) best.set(store.weights);
        const perplexities = [state.heard[0] / state.heard[1], judged].map((x) => Math.exp(x).toFixed(2));
        shown.print(
          `epoch ${epoch}: perplexity ${perplexities[0]} in training, ${perplexities[1]} on validation${better ? " (best so far)" : ""}`,
        );
        state = {
          ...{ key, heard: [0, 0], newBob: newBob(SCHEDULE, state.newBob, judged) },
          best: better ? { epoch, loss: judged } : state.best,
        };
        batches = batchesOf(epoch);
      }
      if (performance.now() - saved > 1000 * CHECKPOINT) {
        save();
        saved = performance.now();
      }
    }
    shown.end();
    store.weights.set(best);
    const perplexity = Math.exp(state.best!.loss);
    const { lr, vocabulary } = options;
    writeJson(join(out, "training.json"), {
      ...{ perplexity, bestEpoch: state.best!.epoch, epochs, batch, lr, seed },
      sentences: { train: train.count, valid: valid.count },
      symbols: { train: train.total, valid: valid.total },
    });
    writeRecurrentLm(out, config, vocabulary, store);
    rmSync(checkpoints, { recursive: true, force: true });
    return { status: "finished", steps: step, perplexity };
  } finally {
    shown.end();
    await training.dispose();
    await evaluation.dispose();
    await optimiser.dispose();
  }
}

/** Names what a training depends on. */
function keyOf({ config, vocabulary, train, valid, batch, lr, seed }: LmTraining): string {
  const hash = createHash("sha256");
  hash.update(JSON.stringify([config, vocabulary.symbols, batch, lr, seed, train.count, valid.count]));
  return hash.update(train.bytes()).update(valid.bytes()).digest("hex").slice(0, 16);
}

/** The sentences of a batch as graph inputs: what was before each symbol, the symbols with the end, and how many. */
function feedsOf(indices: readonly number[], sentences: Sentences, blank: number): Record<string, Value> {
  const counts = indices.map((i) => sentences.length(i) + 1);
  const width = Math.max(...counts);
  const previous = new Int32Array(indices.length * width).fill(blank);
  const labels = new Int32Array(indices.length * width).fill(blank);
  for (const [b, i] of indices.entries()) {
    labels.set(sentences.at(i), b * width);
    previous.set(sentences.at(i), b * width + 1);
  }
  const shape = [indices.length, width];
  return {
    previous: i32(shape, previous),
    labels: i32(shape, labels),
    counts: i32([indices.length], counts),
  };
}

function traced({ config }: Pick<LmTraining, "config">, isTraining: boolean) {
  const table = new ParameterTable();
  const [batch, length] = [symbol("batch"), symbol("length")];
  const [previous, labels] = ["previous", "labels"].map((name) => ops.input(name, [batch, length], "i32"));
  const counts = ops.input("counts", [batch], "i32");
  const seed = ops.input("seed", [], "i32");
  const logits = recurrentLm(previous, config, table, isTraining ? trainingMode(seed) : undefined);
  const sum = ops.sumAll(smoothedCrossEntropy(logits, labels, counts, 0));
  return { table, sum, counts, inputs: [previous, labels, counts], seed };
}

function compiledTraining(
  options: LmTraining,
  store: { isTrained(name: string): boolean },
): Promise<Program> {
  const { table, sum, counts, inputs, seed } = traced(options, true);
  const loss = ops.div(sum, ops.sumAll(ops.cast(counts, "f32")));
  return compileTraining(
    table,
    { loss, outputs: {}, inputs: [...inputs, seed] },
    { trained: (name) => store.isTrained(name), threads: options.threads },
  );
}

function compiledEvaluation(options: LmTraining): Promise<Program> {
  const { table, sum, inputs } = traced(options, false);
  return compile(evaluationGraph(table, { sum }, inputs), { threads: options.threads });
}

/** Mean loss of a symbol, nats. */
async function lossOf(
  program: Program,
  values: Readonly<Record<string, Value>>,
  sentences: Sentences,
  blank: number,
): Promise<number> {
  const lengths = Array.from({ length: sentences.count }, (_, i) => sentences.length(i));
  let total = 0;
  for (const indices of lengthBuckets(lengths, { batchSize: VALID_BATCH, shuffle: false })) {
    const { sum } = await program.run({ ...values, ...feedsOf(indices, sentences, blank) });
    total += (sum.data as Float32Array)[0];
  }
  return total / (sentences.total + sentences.count);
}
