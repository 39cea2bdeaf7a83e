import { join } from "node:path";
import { UserError } from "../../errors.ts";
import type { DataOptions, Part } from "../../train/data.ts";
import type { RunEvaluation } from "../../train/evaluate-run.ts";
import { answerOf, type Prediction } from "../../train/evaluation.ts";
import { frameTimes } from "../../train/feeds.ts";
import { lossOf } from "../../train/losses/index.ts";
import { readTargets, selfContainedRecipe } from "../../train/open-model.ts";
import { closeStreams, load } from "../../train/prepare.ts";
import { exportable } from "./graph.ts";
import { OnnxModel } from "./model.ts";
import { readTask, taskBeside } from "./task-file.ts";

export interface OnnxEvaluation extends RunEvaluation {
  readonly onnx: string;
  /** Seconds of audio, and seconds that the model took for them, decoding aside. */
  readonly audioSeconds: number;
  readonly modelSeconds: number;
}

/**
 * Evaluates an exported model on a part of the corpus of the run that it is from, one recording at a time.
 * @throws UserError where the model has no output for an objective of the run
 */
export async function evaluateOnnx(
  folder: string,
  part: Part,
  path: string,
  options: Omit<DataOptions, "cache"> & { threads?: number },
): Promise<OnnxEvaluation & { predictions: readonly Prediction[] }> {
  const recipe = selfContainedRecipe(folder);
  const targets = readTargets(folder);
  const loading = { ...options, cache: join(folder, ".."), targets, parts: [part], weights: false };
  const { task, streams } = await load(recipe, loading);
  const onnx = await OnnxModel.open(path, { threads: options.threads || recipe.threads || undefined });
  try {
    const exported = exportable(task);
    const unknown = exported.find(
      ({ name }) => !onnx.metadata.outputs.some(({ objective }) => objective === name),
    );
    if (unknown !== undefined) throw new UserError(`${path}: has no output for "${unknown.name}"`);
    // Of a model for several tasks, the run's own.
    const own = onnx.metadata.task && readTask(taskBeside(path, recipe.name)).feeds;
    const predictions: Prediction[] = [];
    let [audioSeconds, modelSeconds] = [0, 0];
    for (const stream of streams) {
      const objectives = exported.filter((o) => o.spec.stream === stream.name);
      const single = stream.parts[part].map((index) => [index]);
      for await (const { indices, waves } of stream.loader.batches(single)) {
        const start = performance.now();
        const scores = await onnx.hear(waves[0], own);
        modelSeconds += (performance.now() - start) / 1000;
        audioSeconds += waves[0].length / onnx.metadata.audio.sampleRate;
        const item = stream.items[indices[0]];
        const times = frameTimes(task.model, item.samples);
        const answers = objectives.map(
          (o) => [o.name, answerOf(o, scores[o.name], 0, times, item.targets[o.name])] as const,
        );
        const answered = Object.fromEntries(answers);
        predictions.push({ stream: stream.name, part, index: indices[0], answers: answered, losses: {} });
      }
    }
    if (predictions.length === 0) throw new UserError(`${folder}: its corpus has no ${part} part`);
    const metrics: Record<string, number> = {};
    for (const { name, spec, target } of exported) {
      const answers = predictions.flatMap((p) => (name in p.answers ? [p.answers[name]] : []));
      for (const [metric, value] of Object.entries(lossOf(spec).score(target, answers)))
        metrics[`${name}.${metric}`] = value;
    }
    const utterances = predictions.length;
    return { run: folder, part, onnx: path, utterances, metrics, audioSeconds, modelSeconds, predictions };
  } finally {
    await onnx.dispose();
    await closeStreams(streams);
  }
}
