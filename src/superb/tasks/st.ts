import type { Utterance } from "../../corpus/manifest.ts";
import { reordered, sequenceBeam } from "../../decode/sequence-beam.ts";
import { UserError } from "../../errors.ts";
import { corpusBleu } from "../../metrics/bleu.ts";
import {
  decode,
  encode,
  encodedFrames,
  hidden,
  sinusoids,
  smoothedCrossEntropy,
  type TranslatorConfig,
} from "../../nn/translation.ts";
import * as ops from "../../ops/index.ts";
import { ParameterTable } from "../../params/params.ts";
import { compile } from "../../runtime/cpu.ts";
import { f32, i32, type Value } from "../../runtime/program.ts";
import { symbol } from "../../tensor/dims.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { evaluationGraph } from "../../train/program.ts";
import { listed, type Parts } from "../build.ts";
import { folderOf, needParts, partsOf } from "../corpora.ts";
import { common } from "../recipes.ts";
import type { Learner, Prediction, Prepare, ProbeRecipe, ProbeTask, Reader, Row, Trial } from "../task.ts";

/** SUPERB's speech translation: English speech to German text, a transformer on top of the features. */
export const st: Prepare = async (root, trial) => {
  const folder = folderOf(root, "st", "CoVoST2", "covost", "common-voice/en", "CommonVoice/en", "en");
  const parts = needParts("st", folder, await partsOf(folder, "covost"), "train", "valid", "test");
  return [translationTask(recipe, trial === undefined ? size : smaller(trial), parts)];
};

/** fairseq's s2t_transformer, three layers on either side. */
const size = {
  dim: 512,
  inner: 2048,
  heads: 8,
  encoderLayers: 3,
  decoderLayers: 3,
  dropout: 0.1,
  convChannels: 1024,
  convKernel: 5,
};
const smaller = ({ hidden: dim }: Trial): TranslationOptions => ({
  ...size,
  ...{ dim, inner: 2 * dim, heads: 2, convChannels: 2 * dim, beam: 3, longest: 24 },
});
const SMOOTHING = 0.1;
const BEAM = 20;
const LONGEST = 400;

/** fairseq's special symbols; the decoder starts from the end symbol. */
const SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"];
const [PAD, END, UNKNOWN] = [1, 2, 3];
/** Stands for a space, as in SentencePiece. */
const SPACE = "▁";
/** fairseq counts places from behind the padding symbol. */
const FIRST = PAD + 1;

export interface TranslationOptions extends Omit<TranslatorConfig, "symbols"> {
  readonly beam?: number;
  /** Symbols of a translation at most. */
  readonly longest?: number;
}

/** The task on any corpus with translations. */
export function translationTask(given: ProbeRecipe, options: TranslationOptions, parts: Parts): ProbeTask {
  const { beam = BEAM, longest = LONGEST, ...dims } = options;
  const { items, parts: indices } = listed(parts, given);
  const texts = items.map(({ utterance }) => translationOf(utterance));
  const spelt = texts.map((text) => [...text.split(" ").filter(Boolean).join(SPACE)]);
  const letters = [...new Set(indices.train.flatMap((i) => spelt[i]))].sort((a, b) => (a < b ? -1 : 1));
  const symbols = [...SPECIAL, ...letters];
  const index = new Map(symbols.map((each, i) => [each, i]));
  const targets = spelt.map((each) => [...each.map((letter) => index.get(letter) ?? UNKNOWN), END]);
  const config = { ...dims, symbols: symbols.length };
  const textOf = (tokens: readonly number[]) =>
    tokens
      .filter((token) => token >= SPECIAL.length)
      .map((token) => symbols[token])
      .join("")
      .replaceAll(SPACE, " ")
      .trim();
  return {
    ...{ name: "st", recipe: given, items, parts: indices, columns: {} },
    notes: [
      "letters of the training part as symbols; texts are the corpus's own, without Moses' normalisation",
    ],
    headline: { metric: "bleu", higher: true },
    learner: () =>
      translator(config, targets, {
        read: (item, tokens) => ({
          id: items[item].utterance.id,
          reference: texts[item],
          hypothesis: textOf(tokens),
        }),
        ...{ beam, longest },
      }),
  };
}

function translationOf(utterance: Utterance): string {
  if (utterance.translation !== undefined) return utterance.translation;
  throw new UserError(`utterance "${utterance.id}" has no translation`);
}

interface Reading {
  read(item: number, tokens: readonly number[]): Prediction;
  beam: number;
  longest: number;
}

function translator(
  config: TranslatorConfig,
  targets: readonly (readonly number[])[],
  reading: Reading,
): Learner {
  const { dim, convKernel: kernel } = config;
  const states = (frames: readonly number[]) => frames.map((count) => encodedFrames(count, kernel) as number);
  return {
    scores({ x, training }, p, declare) {
      const [batch, frames] = x.shape;
      const counts = declare(ops.input("states", [batch], "i32"));
      const places = declare(ops.input("places", [encodedFrames(frames, kernel), dim]));
      return encode(x, counts, places, config, p.at("encoder"), training);
    },
    extra(frames) {
      const counts = states(frames);
      const width = Math.max(...counts);
      return {
        states: i32([counts.length], counts),
        places: f32([width, dim], sinusoids(width, dim, FIRST)),
      };
    },
    loss(encoded, { training }, p, declare) {
      const [batch, width] = encoded.shape;
      const length = symbol("symbols");
      const previous = declare(ops.input("previous", [batch, length], "i32"));
      const labels = declare(ops.input("labels", [batch, length], "i32"));
      const counts = declare(ops.input("targets", [batch], "i32"));
      const places = declare(ops.input("text.places", [length, dim]));
      const heard = declare(ops.input("heard", [batch], "i32"));
      const { logits } = decode(previous, encoded, hidden(heard, width), places, config, p.at("decoder"), {
        training,
      });
      return ops.reduceSum(smoothedCrossEntropy(logits, labels, counts, SMOOTHING), [0]);
    },
    feeds(items, frames) {
      const rows = items.map((item) => targets[item]);
      const width = Math.max(...rows.map((row) => row.length));
      const padded = (of: (row: readonly number[]) => readonly number[]): Value => {
        const values = new Int32Array(rows.length * width).fill(PAD);
        for (const [i, row] of rows.entries()) values.set(of(row), i * width);
        return i32([rows.length, width], values);
      };
      return {
        previous: padded((row) => [END, ...row.slice(0, -1)]),
        labels: padded((row) => row),
        targets: i32(
          [rows.length],
          rows.map((row) => row.length),
        ),
        "text.places": f32([width, dim], sinusoids(width, dim, FIRST)),
        heard: i32([items.length], states(frames)),
      };
    },
    weight: (items) => items.length,
    open: (store, threads) => openReader(config, store, threads, reading),
    read: () => {
      throw new Error("st: read by its own decoder");
    },
    metrics(predictions) {
      const all = [...predictions.values()];
      const { score } = corpusBleu(
        all.map(({ hypothesis }) => String(hypothesis)),
        all.map(({ reference }) => [String(reference)]),
      );
      return { bleu: score };
    },
  };
}

/** Writes translations symbol by symbol; keys and values of what is written are kept from step to step. */
async function openReader(
  config: TranslatorConfig,
  values: Readonly<Record<string, Value>>,
  threads: number | undefined,
  { read, beam, longest }: Reading,
): Promise<Reader> {
  const { dim, heads, decoderLayers } = config;
  const graph = (withPast: boolean) => {
    const table = new ParameterTable();
    const beams = symbol("beams");
    const previous = ops.input("previous", [beams, 1], "i32");
    const encoded = ops.input("encoded", [1, symbol("states"), dim]);
    const places = ops.input("places", [1, dim]);
    const memory = (kind: string) =>
      Array.from({ length: decoderLayers }, (_, i) =>
        ops.input(`${kind}.${i}`, [beams, heads, symbol("past"), dim / heads]),
      );
    const past = withPast ? { keys: memory("key"), values: memory("value") } : undefined;
    const decoder = table.at("head").at("decoder");
    const { logits, present } = decode(previous, encoded, undefined, places, config, decoder, { past });
    const outputs: Record<string, Tensor> = { logs: ops.logSoftmax(logits) };
    for (const [i, key] of present.keys.entries()) outputs[`new.key.${i}`] = key;
    for (const [i, value] of present.values.entries()) outputs[`new.value.${i}`] = value;
    const inputs = [previous, encoded, places, ...(past ? [...past.keys, ...past.values] : [])];
    const feeds = Object.fromEntries([...table.specs.keys()].map((name) => [name, values[name]]));
    return { feeds, program: compile(evaluationGraph(table, outputs, inputs), { threads }) };
  };
  const [first, next] = [graph(false), graph(true)];
  const [begin, go] = [await first.program, await next.program];
  return {
    async read(item: number, { values: states, frames }: Row) {
      const count = encodedFrames(frames, config.convKernel) as number;
      const encoded = f32([1, count, dim], states.slice(0, count * dim));
      let memory: Record<string, Value> = {};
      let written = 0;
      const { tokens } = await sequenceBeam({
        ...{ start: END, end: END, width: beam, longest, forbidden: [0, PAD] },
        async step(newest, parents) {
          const given = {
            previous: i32([newest.length, 1], newest),
            encoded,
            places: f32([1, dim], sinusoids(1, dim, FIRST + written)),
          };
          const results =
            written === 0
              ? await begin.run({ ...first.feeds, ...given })
              : await go.run({ ...next.feeds, ...given, ...reordered(memory, parents) });
          written++;
          const { logs, ...present } = results;
          memory = Object.fromEntries(
            Object.entries(present).map(([name, value]) => [name.slice("new.".length), value]),
          );
          return logs.data as Float32Array;
        },
      });
      return read(item, tokens);
    },
    async dispose() {
      await begin.dispose();
      await go.dispose();
    },
  };
}

const recipe: ProbeRecipe = {
  ...common,
  optimizer: { ...common.optimizer, lr: 1e-3 },
  schedule: { name: "inverse-sqrt", warmup: 10_000, initialScale: 0 },
  clip: 10,
  head: {
    type: "transformer",
    ...size,
    loss: "cross-entropy",
    labelSmoothing: SMOOTHING,
    beam: BEAM,
    symbols: "letters",
  },
  ...{ steps: 32_000, batch: 256, sampling: "buckets", evaluateEvery: 2000 },
  best: { metric: "bleu", higher: true },
  source:
    "read: s3prl downstream/speech_translation/config.yaml, expert.py (0.4.18), whose batches are of 10,000 frames, eight of them added, about 256 " +
    "utterances; s3prl's schedule falls to a hundredth at the end of the warm-up (1 / sqrt(step) instead of sqrt(warmup / step)), this one does not; " +
    "recalled: fairseq's s2t_transformer (widths, pre-norm, convolutions, initial values)",
};
