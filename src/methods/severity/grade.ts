import { type CtcSpan, greedyDecode } from "../../decode/ctc.ts";
import type { Value } from "../../runtime/program.ts";
import { Inference } from "../../use/inference.ts";

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
  private readonly inference: Inference;

  private constructor(inference: Inference) {
    this.inference = inference;
  }

  /**
   * Loads a model; of a run neither its corpus nor its pre-trained upstream is needed.
   * @throws UserError where the folder lacks a file or one does not fit
   */
  static async open(folder: string, options: { threads?: number } = {}): Promise<Grader> {
    return new Grader(await Inference.open(folder, options));
  }

  /** Hz of the samples that `grade` takes. */
  get sampleRate(): number {
    return this.inference.sampleRate;
  }

  /** Reads, resamples and grades a file. @throws UserError that names the file */
  async gradeFile(path: string): Promise<Grade & { samples: Float32Array }> {
    const samples = await this.inference.read(path);
    return { ...(await this.grade(samples)), samples };
  }

  /** Grades a mono recording at the model's own rate [samples], full scale 1. */
  async grade(samples: Float32Array): Promise<Grade> {
    const { frames, scores } = await this.inference.hear(samples);
    const grade: Grade = { seconds: samples.length / this.sampleRate, classes: {}, heard: {} };
    for (const { name, target } of this.inference.objectives) {
      const values = scores[name];
      if (target.kind === "class") grade.classes[name] = classified(target.labels.classes, values);
      else if (target.kind === "sequence") {
        const { blank, symbols } = target.vocabulary;
        const spans = greedyDecode(values.data as Float32Array, frames, symbols.length, { blank, symbols });
        grade.heard[name] = this.timed(spans, samples.length, frames);
      }
    }
    return grade;
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
    return this.inference.dispose();
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
