import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { readAudio } from "../../audio/file.ts";
import { normalizeSamples } from "../../corpus/load-audio.ts";
import { type CtcSpan, greedyDecode } from "../../decode/ctc.ts";
import { UserError } from "../../errors.ts";
import { compile } from "../../runtime/cpu.ts";
import { f32, i32, type Program, type Value } from "../../runtime/program.ts";
import { readTargets } from "../../train/evaluate-run.ts";
import { importModel } from "../../train/export.ts";
import { modelOf } from "../../train/model.ts";
import { parametersOf } from "../../train/prepare.ts";
import { evaluationGraph } from "../../train/program.ts";
import { type Recipe, readRecipe } from "../../train/recipe.ts";
import type { ParameterStore } from "../../train/store.ts";
import { everCounts, namePaths, type Task, type TaskObjective, traceEvaluation } from "../../train/task.ts";

/** A symbol that a CTC head heard. */
export interface HeardSymbol {
  symbol: string;
  /** First frame that emits it to the end of the last one, in seconds. CTC tells that a symbol was heard, and only roughly when. */
  startSeconds: number;
  endSeconds: number;
  /** Geometric mean of its posterior over those frames, in (0, 1]. */
  score: number;
}

/** What a trained model makes of one recording. */
export interface Grade {
  /** Duration of the recording. */
  seconds: number;
  /** By classifying objective, in the order of the classes: for a severity model, the grades. */
  classes: Record<string, { predicted: string; probabilities: { label: string; value: number }[] }>;
  /** By CTC objective. */
  heard: Record<string, HeardSymbol[]>;
}

/** A trained run's model, ready to grade recordings of any length. Dispose it when done. */
export class Grader {
  /** Hz of the samples that `grade` takes. */
  readonly sampleRate: number;
  private readonly task: Task;
  private readonly store: ParameterStore;
  private readonly program: Program;
  private readonly normalize: boolean;

  private constructor(recipe: Recipe, task: Task, store: ParameterStore, program: Program) {
    this.sampleRate = recipe.corpus.sampleRate;
    this.normalize = recipe.corpus.normalize;
    this.task = task;
    this.store = store;
    this.program = program;
  }

  /**
   * Loads the model of a run folder; neither its corpus nor its pre-trained upstream is needed.
   * @throws UserError where the folder lacks a file or one does not fit
   */
  static async open(folder: string, options: { threads?: number } = {}): Promise<Grader> {
    const recipe = readRecipe(join(folder, "recipe.yaml"));
    const targets = readTargets(folder);
    // The exported configuration stands for wherever the upstream came from.
    const model = modelOf({
      ...recipe,
      upstream: { ...recipe.upstream, model: undefined, config: configOf(folder) },
    });
    const active = Object.entries(recipe.objectives).filter(([, o]) => everCounts(o));
    const paths = namePaths(active);
    const objectives = active.map(([name, spec]): TaskObjective => {
      const target = targets.get(name);
      if (target === undefined) throw new UserError(`${join(folder, "targets.json")}: has no "${name}"`);
      return { name, spec, target, path: paths.get(name)! };
    });
    const task: Task = { model, layers: recipe.upstream.layers, objectives };
    const { store } = parametersOf(recipe, task, false);
    importModel(folder, task, store);
    const { table, outputs, inputs } = traceEvaluation(task, objectives, false);
    const threads = options.threads ?? (recipe.threads || availableParallelism());
    const program = await compile(evaluationGraph(table, outputs, inputs), { threads });
    return new Grader(recipe, task, store, program);
  }

  /** Reads, resamples and grades a file. @throws UserError that names the file */
  async gradeFile(path: string): Promise<Grade & { samples: Float32Array }> {
    const { samples } = await readAudio(path, { sampleRate: this.sampleRate });
    if (this.frames(samples) < 1)
      throw new UserError(
        `${path}: ${(samples.length / this.sampleRate).toFixed(3)} s is too short for a single frame of the model`,
      );
    return { ...(await this.grade(samples)), samples };
  }

  /** Grades a mono recording at the model's own rate [samples], full scale 1. */
  async grade(samples: Float32Array): Promise<Grade> {
    const frames = this.frames(samples);
    if (frames < 1)
      throw new UserError(`${samples.length} samples are too few for a single frame of the model`);
    const audio = this.normalize ? normalizeSamples(samples) : samples;
    const scores = await this.program.run({
      ...this.store.values,
      audio: f32([1, audio.length], audio),
      frames: i32([1], [frames]),
    });
    const grade: Grade = { seconds: samples.length / this.sampleRate, classes: {}, heard: {} };
    for (const { name, target } of this.task.objectives) {
      const values = scores[`scores.${name}`];
      if (target.kind === "class") grade.classes[name] = classified(target.labels.classes, values);
      else if (target.kind === "sequence") {
        const { blank, symbols } = target.vocabulary;
        const spans = greedyDecode(values.data as Float32Array, frames, symbols.length, { blank, symbols });
        grade.heard[name] = this.timed(spans, samples.length, frames);
      }
    }
    return grade;
  }

  private frames(samples: Float32Array): number {
    return this.task.model.upstream.frames(samples.length) as number;
  }

  /** Frames as seconds: they divide the recording evenly, to within half a window of the extractor. */
  private timed(spans: readonly CtcSpan[], samples: number, frames: number): HeardSymbol[] {
    const secondsPerFrame = samples / this.sampleRate / frames;
    return spans.map(({ symbol, startFrame, endFrame, score }) => ({
      symbol,
      startSeconds: startFrame * secondsPerFrame,
      endSeconds: endFrame * secondsPerFrame,
      score,
    }));
  }

  dispose(): Promise<void> {
    return this.program.dispose();
  }
}

function configOf(folder: string): Record<string, unknown> {
  const path = join(folder, "config.json");
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new UserError(`${path}: ${error instanceof SyntaxError ? "is not JSON" : "cannot be read"}`);
  }
}

/** Scores of one recording, [1, classes], as probabilities. */
function classified(classes: readonly string[], { data }: Value): Grade["classes"][string] {
  const scores = Array.from(data as Float32Array);
  const top = Math.max(...scores);
  const odds = scores.map((s) => Math.exp(s - top));
  const sum = odds.reduce((a, b) => a + b, 0);
  return {
    predicted: classes[scores.indexOf(top)],
    probabilities: classes.map((label, i) => ({ label, value: odds[i] / sum })),
  };
}
