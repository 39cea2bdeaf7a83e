import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Turn, Utterance } from "../../corpus/manifest.ts";
import { withDurations } from "../../corpus/readers/reader.ts";
import { UserError } from "../../errors.ts";
import { diarizationError, sumDiarization } from "../../metrics/diarization.ts";
import { linear } from "../../nn/layers.ts";
import { permutationInvariant, permutations } from "../../nn/losses.ts";
import { lstmLayers } from "../../nn/recurrent.ts";
import * as ops from "../../ops/index.ts";
import { f32 } from "../../runtime/program.ts";
import { listed, type Parts } from "../build.ts";
import { folderOf, needParts, partsOf } from "../corpora.ts";
import { common } from "../recipes.ts";
import type { Learner, Prediction, Prepare, ProbeRecipe, ProbeTask } from "../task.ts";
import type { FrozenUpstream } from "../upstream.ts";

const SPEAKERS = 2;
const HIDDEN = 512;
/** Frames of a piece that is heard at once: 40 s at 20 ms. */
const CHUNK = 2000;
/** Decisions that are tried on the test part; the best counts, as SUPERB's scoring script has it. */
const thresholds = [0.3, 0.4, 0.5, 0.6, 0.7];
const medians = [1, 11];

/** SUPERB's diarisation: who of two speakers speaks when, in mixtures of LibriSpeech. */
export const sd: Prepare = async (root, trial) => {
  const folder = folderOf(root, "sd", "Libri2Mix", "libri2mix");
  const rttm = [join(folder, "rttm"), join(root, "diarization", "data"), join(root, "rttm")].find(existsSync);
  if (rttm === undefined)
    throw new UserError(
      `${folder}: the task sd needs the folder rttm there, with train.rttm, dev.rttm and test.rttm (s3prl's preparation writes them)`,
    );
  const parts = await partsOf(folder, "libri2mix", { rttm });
  needParts("sd", folder, parts, "train", "valid", "test");
  return [await diarizationTask(recipe, trial?.hidden ?? HIDDEN, parts)];
};

/** The task on any corpus with turns of two speakers. */
export async function diarizationTask(given: ProbeRecipe, hidden: number, parts: Parts): Promise<ProbeTask> {
  // 20 ms: what every upstream of SUPERB with 320 samples a frame makes of 2000 frames.
  const seconds = (CHUNK * 320) / 16_000;
  const cut = async (part: keyof Parts) =>
    (await withDurations(parts[part])).flatMap((utterance) => pieces(utterance, seconds));
  const { items, parts: indices } = listed(
    { train: await cut("train"), valid: await cut("valid"), test: await cut("test") },
    given,
  );
  const utterances = items.map(({ utterance }) => utterance);
  return {
    ...{ name: "sd", recipe: given, items, parts: indices, columns: { der: "SD" } },
    notes: [
      "the threshold and the width of the median filter are the best on the test part, as in SUPERB's scoring",
    ],
    headline: { metric: "der", higher: false },
    learner: (upstream) => diarizer(upstream, hidden, utterances),
  };
}

/** Stretches of at most so many seconds; `start` and `end` say where. */
function pieces(utterance: Utterance, seconds: number): Utterance[] {
  const { duration, start = 0 } = utterance;
  const count = Math.max(1, Math.ceil(duration! / seconds - 1e-9));
  if (count === 1) return [utterance];
  return Array.from({ length: count }, (_, i) => {
    const [from, to] = [i * seconds, Math.min(duration!, (i + 1) * seconds)];
    return { ...utterance, start: start + from, end: start + to, duration: to - from };
  });
}

function diarizer(
  { hop, sampleRate }: FrozenUpstream,
  hidden: number,
  utterances: readonly Utterance[],
): Learner {
  const rate = sampleRate / hop;
  return {
    scores({ x, valid }, p) {
      const options = { hidden, layers: 1, bidirectional: false, dropout: 0 };
      const [h] = lstmLayers(x, valid, options, p.at("rnn"));
      return linear(h, p.at("linear"), SPEAKERS);
    },
    loss(scores, { valid }, _, declare) {
      const labels = declare(ops.input("labels", scores.shape));
      return ops.reduceSum(permutationInvariant(scores, labels, valid), [0]);
    },
    feeds(items, frames) {
      const width = Math.max(...frames);
      const labels = new Float32Array(items.length * width * SPEAKERS);
      for (const [row, item] of items.entries())
        labels.set(labelsOf(utterances[item], frames[row], rate), row * width * SPEAKERS);
      return { labels: f32([items.length, width, SPEAKERS], labels) };
    },
    weight: (_, frames) => frames.reduce((a, b) => a + b, 0),
    read(item, { values, frames }) {
      const speech = Array.from(values.subarray(0, frames * SPEAKERS), (x) => 1 / (1 + Math.exp(-x)));
      return { id: utterances[item].id, piece: item, speech };
    },
    metrics(predictions, part) {
      if (part !== "test") return { accuracy: frameAccuracy(predictions, utterances, rate) };
      return bestDecision(recordings(predictions, utterances), rate);
    },
    lines(predictions) {
      const all = recordings(predictions, utterances);
      const { threshold, median } = bestDecision(all, rate);
      return all.map(({ id, reference, speech, seconds }) => ({
        ...{ id, reference: reference as unknown as Prediction[string] },
        hypothesis: turnsOf(speech, seconds, rate, threshold, median) as unknown as Prediction[string],
      }));
    },
  };
}

/** Frame-wise labels [frames, speakers]; speakers in the order of their names. */
function labelsOf(utterance: Utterance, frames: number, rate: number): Float32Array {
  const labels = new Float32Array(frames * SPEAKERS);
  const offset = utterance.start ?? 0;
  const names = speakersOf(utterance);
  for (const { speaker, start, end } of utterance.turns ?? []) {
    const from = Math.max(0, Math.round((start - offset) * rate));
    const to = Math.min(frames, Math.round((end - offset) * rate));
    for (let t = from; t < to; t++) labels[t * SPEAKERS + names.indexOf(speaker)] = 1;
  }
  return labels;
}

function speakersOf({ id, turns = [] }: Utterance): string[] {
  const names = [...new Set(turns.map(({ speaker }) => speaker))].sort();
  if (turns.length === 0) throw new UserError(`utterance "${id}" has no turns that say who speaks when`);
  if (names.length > SPEAKERS)
    throw new UserError(`utterance "${id}" has ${names.length} speakers; diarisation is for ${SPEAKERS}`);
  return names;
}

/** Share of right decisions at 0.5 under the best naming, as s3prl chooses its head by. */
function frameAccuracy(
  predictions: ReadonlyMap<number, Prediction>,
  utterances: readonly Utterance[],
  rate: number,
): number {
  const shares = [...predictions].map(([item, { speech }]) => {
    const said = speech as number[];
    const frames = said.length / SPEAKERS;
    const labels = labelsOf(utterances[item], frames, rate);
    const right = permutations(SPEAKERS).map((order) => {
      let count = 0;
      for (let t = 0; t < frames; t++)
        for (const [k, named] of order.entries())
          if (said[t * SPEAKERS + k] > 0.5 === labels[t * SPEAKERS + named] > 0.5) count++;
      return count / (frames * SPEAKERS);
    });
    return Math.max(...right);
  });
  return shares.reduce((a, b) => a + b, 0) / shares.length;
}

interface Recording {
  id: string;
  reference: readonly Turn[];
  /** Posteriors [frames, speakers] of all its pieces, one after the other. */
  speech: number[];
  seconds: number;
}

function recordings(
  predictions: ReadonlyMap<number, Prediction>,
  utterances: readonly Utterance[],
): Recording[] {
  const all = new Map<string, Recording>();
  for (const [item, { speech }] of [...predictions].sort((a, b) => a[0] - b[0])) {
    const { id, turns = [], duration = 0 } = utterances[item];
    const known = all.get(id);
    if (known === undefined) {
      all.set(id, { id, reference: turns, speech: [...(speech as number[])], seconds: duration });
    } else {
      known.speech.push(...(speech as number[]));
      known.seconds += duration;
    }
  }
  return [...all.values()];
}

/** The least diarization error over thresholds and median filters; no collar, overlap counts. */
function bestDecision(all: readonly Recording[], rate: number) {
  let best = { der: Number.POSITIVE_INFINITY, threshold: 0, median: 0 };
  for (const median of medians)
    for (const threshold of thresholds) {
      const errors = all.map(({ reference, speech, seconds }) => {
        const hypothesis = turnsOf(speech, seconds, rate, threshold, median);
        const ends = [...reference, ...hypothesis].flatMap(({ start, end }) => [start, end]);
        // As dscore: from the first start to the last end of either side.
        const regions = [{ start: Math.min(...ends), end: Math.max(...ends) }];
        return diarizationError(reference, hypothesis, { regions });
      });
      const { rate: der } = sumDiarization(errors);
      if (der < best.der) best = { der, threshold, median };
    }
  return best;
}

/** Turns where the filtered posterior exceeds a threshold; the last frame lasts to the end. */
export function turnsOf(
  speech: readonly number[],
  seconds: number,
  rate: number,
  threshold: number,
  median: number,
): Turn[] {
  const frames = speech.length / SPEAKERS;
  const turns: Turn[] = [];
  for (let k = 0; k < SPEAKERS; k++) {
    const active = medianFilter(
      Array.from({ length: frames }, (_, t) => speech[t * SPEAKERS + k] > threshold),
      median,
    );
    let start = -1;
    for (let t = 0; t <= frames; t++) {
      if (active[t] && start < 0) start = t;
      if (!active[t] && start >= 0) {
        turns.push({
          speaker: `s${k}`,
          start: start / rate,
          end: t === frames ? Math.max(seconds, t / rate) : t / rate,
        });
        start = -1;
      }
    }
  }
  return turns;
}

/** Median over an odd number of neighbours, silence beyond the ends (SciPy's medfilt). */
function medianFilter(active: readonly boolean[], width: number): boolean[] {
  const half = (width - 1) / 2;
  return active.map((_, t) => {
    let count = 0;
    for (let i = t - half; i <= t + half; i++) if (active[i]) count++;
    return count > half;
  });
}

const recipe: ProbeRecipe = {
  ...common,
  head: {
    type: "lstm",
    layers: 1,
    hidden: HIDDEN,
    speakers: SPEAKERS,
    loss: "permutation-invariant binary cross-entropy",
  },
  // 8 recordings, gradients of four batches added.
  ...{ steps: 30_000, batch: 32, sampling: "shuffle", evaluateEvery: 500 },
  best: { metric: "accuracy", higher: true },
  source:
    "read: s3prl downstream/diarization/config.yaml, model.py, expert.py, utils.py, dataset.py, make_rttm.py, score.sh (0.4.18); " +
    "recalled: dscore scores from the first start to the last end of either side, without a collar",
};
