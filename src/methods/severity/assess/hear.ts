import {
  type ClinicalFeatures,
  clinicalFeatures,
  measureVoice,
} from "../../../audio/acoustics/clinical/clinical.ts";
import { logMel } from "../../../audio/spectra.ts";
import type { Vocabulary } from "../../../corpus/vocab.ts";
import { forcedAlign, greedyDecode } from "../../../decode/ctc.ts";
import { UserError } from "../../../errors.ts";
import { isRun, openModel, openPack } from "../../../train/open-model.ts";
import { isPack } from "../../../train/pack-file.ts";
import { Inference } from "../../../use/inference.ts";
import type { HeardSymbol } from "../grade.ts";

/** A run's model with what its heads mean: one grades, another writes down what it hears. */
export interface SeverityModel {
  readonly inference: Inference;
  readonly sampleRate: number;
  /** The grading objective, its label and its classes in their order. */
  readonly severity: string;
  readonly label: string;
  readonly classes: readonly string[];
  /** The writing objective and its symbols, where the run has one. */
  readonly phonemes?: string;
  readonly vocabulary?: Vocabulary;
}

/**
 * Opens the model of a finished run, or of a pack over its `backbone` (by default where its run had it).
 * @throws UserError where it is none, or does not grade
 */
export async function openSeverityModel(
  run: string,
  { threads, backbone }: { threads?: number; backbone?: string } = {},
): Promise<SeverityModel> {
  if (!isPack(run) && !isRun(run))
    throw new UserError(
      `${run}: is no run's folder (it has no recipe.yaml); --model names one of \`voxsmith train\``,
    );
  const opened = isPack(run) ? openPack(run, backbone) : openModel(run);
  const inference = await Inference.of(opened, { threads, layers: opened.task.model.upstream.layers });
  const grader = inference.objectives.find(({ target }) => target.kind === "class");
  const writer = inference.objectives.find(({ target }) => target.kind === "sequence");
  if (grader?.target.kind !== "class")
    throw new UserError(
      `${run}: its model has no classes; severity needs an objective with loss cross-entropy`,
    );
  return {
    inference,
    sampleRate: inference.sampleRate,
    severity: grader.name,
    label: grader.target.labels.label,
    classes: grader.target.labels.classes,
    ...(writer?.target.kind === "sequence" && {
      phonemes: writer.name,
      vocabulary: writer.target.vocabulary,
    }),
  };
}

/** What the model makes of one recording, nothing judged yet. */
export interface HeardRecording {
  /** Scores of the classes: log-probabilities up to a constant. */
  readonly scores: number[];
  readonly heard: HeardSymbol[];
  /** The expected symbols, each where it fits the recording best; absent without a text, or where they do not fit in. */
  readonly aligned?: HeardSymbol[];
  readonly clinical: ClinicalFeatures;
  /** Mean over the frames of the last hidden state, which the grade is read from: [dim]. */
  readonly pooled: Float64Array;
  /** Its long-term spectrum: mean of the log mel bands over time, less their mean: [bands]. */
  readonly spectrum: Float64Array;
}

/** Runs the model and measures the clinical features of a mono recording [samples] at the model's rate. */
export async function hearRecording(
  model: SeverityModel,
  samples: Float32Array,
  expected?: readonly string[],
): Promise<HeardRecording> {
  const { inference, vocabulary, phonemes, severity, sampleRate } = model;
  // The model computes on the runtime's threads; what needs nothing of it is measured meanwhile.
  const hearing = inference.hear(samples);
  hearing.catch(() => {});
  const voice = measureVoice(samples, sampleRate);
  const spectrum = spectrumOf(samples, sampleRate);
  const { frames, scores, hidden } = await hearing;
  const secondsPerFrame = samples.length / sampleRate / frames;
  const timed = ({
    symbol,
    startFrame,
    endFrame,
    score,
  }: ReturnType<typeof greedyDecode>[number]): HeardSymbol => ({
    symbol,
    startSeconds: startFrame * secondsPerFrame,
    endSeconds: endFrame * secondsPerFrame,
    score,
  });
  let heard: HeardSymbol[] = [];
  let aligned: HeardSymbol[] | undefined;
  if (vocabulary !== undefined && phonemes !== undefined) {
    const logits = scores[phonemes].data as Float32Array;
    const { blank, symbols, size } = {
      ...vocabulary.options,
      symbols: vocabulary.symbols,
      size: vocabulary.size,
    };
    heard = greedyDecode(logits, frames, size, { blank, symbols }).map(timed);
    if (expected !== undefined && expected.length > 0) {
      const targets = vocabulary.encodeSymbols(expected, "the text");
      const needed = targets.length + targets.filter((t, i) => t === targets[i - 1]).length;
      if (needed <= frames)
        aligned = forcedAlign(logits, frames, size, targets, { blank, symbols }).map(timed);
    }
  }
  const phones = intervals(aligned ?? heard, samples.length / sampleRate, vocabulary);
  const clinical = clinicalFeatures(samples, sampleRate, {
    phones,
    voice,
    ...(expected !== undefined && { canonical: expected, recognised: heard.map(({ symbol }) => symbol) }),
  });
  return {
    scores: Array.from(scores[severity].data as Float32Array),
    heard,
    ...(aligned && { aligned }),
    clinical,
    pooled: pooledOf(hidden[0].data as Float32Array, frames),
    spectrum,
  };
}

/** CTC marks where a phone is heard, not how long it lasts: each is taken to last until half-way to its neighbours. */
function intervals(spans: readonly HeardSymbol[], seconds: number, vocabulary: Vocabulary | undefined) {
  if (vocabulary?.options.unit !== "phones") return [];
  return spans.map(({ symbol, startSeconds, endSeconds }, i) => {
    const before = spans[i - 1]?.endSeconds ?? Math.max(0, startSeconds - 0.05);
    const after = spans[i + 1]?.startSeconds ?? Math.min(seconds, endSeconds + 0.05);
    return { label: symbol, start: (before + startSeconds) / 2, end: (endSeconds + after) / 2 };
  });
}

function pooledOf(states: Float32Array, frames: number): Float64Array {
  const dim = states.length / frames;
  const out = new Float64Array(dim);
  for (let t = 0; t < frames; t++) for (let k = 0; k < dim; k++) out[k] += states[t * dim + k] / frames;
  return out;
}

/** What room, microphone, line and kind of sound leave of a recording whatever is said, and however loud. */
function spectrumOf(samples: Float32Array, sampleRate: number): Float64Array {
  const { data, frames, dim } = logMel(samples, sampleRate, { bands: 40 });
  const bands = pooledOf(data, frames);
  const level = bands.reduce((a, b) => a + b, 0) / dim;
  return bands.map((x) => x - level);
}
