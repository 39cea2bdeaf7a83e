import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { Vocabulary } from "../corpus/vocab.ts";
import { reordered } from "../decode/sequence-beam.ts";
import { UserError } from "../errors.ts";
import { type RecurrentLmConfig, recurrentLmStep } from "../nn/recurrent-lm.ts";
import * as ops from "../ops/index.ts";
import { ParameterTable } from "../params/params.ts";
import { compile } from "../runtime/cpu.ts";
import { f32, i32, type Program, type Value } from "../runtime/program.ts";
import { symbol } from "../tensor/dims.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { loadStrict } from "../weights/model-folder.ts";
import { openSafetensors, writeSafetensors } from "../weights/safetensors.ts";
import { readJsonObject } from "../weights/shards.ts";
import type { Json } from "./checkpoint.ts";
import { writeJson } from "./export.ts";
import { evaluationGraph } from "./program.ts";
import { ParameterStore } from "./store.ts";
import { targetFromJson, targetToJson } from "./targets.ts";

/** Recurrent language models as folders: `config.json`, `model.safetensors`, and in `symbols.json` what their symbols mean. */

const MODEL_TYPE = "recurrent-lm";
const [CONFIG, WEIGHTS, SYMBOLS] = ["config.json", "model.safetensors", "symbols.json"];

const size = z.int().positive();
/** What a model may be told; the defaults are those of SpeechBrain's recipe for LibriSpeech. */
export const recurrentLmSettings = z.strictObject({
  embedding: size.default(128),
  rnnLayers: size.default(2),
  rnnNeurons: size.default(2048),
  dnnNeurons: z.array(size).default([512]),
  dropout: z.number().min(0).max(1).default(0),
});

/** A language model in shallow fusion: its log probabilities count `weight` times (Gulcehre et al. 2015). */
export interface WeightedLanguageModel {
  readonly model: RecurrentLanguageModel;
  readonly weight: number;
  /** Its logits are divided by it. */
  readonly temperature: number;
}

/** Whether a path is the folder of such a model. */
export function isRecurrentLm(path: string): boolean {
  const config = join(path, CONFIG);
  return existsSync(config) && readJsonObject(config)["model_type"] === MODEL_TYPE;
}

/** Room for the weights of a model, and where it trains for their gradients. */
export function recurrentLmStore(config: RecurrentLmConfig, trains: boolean): ParameterStore {
  return new ParameterStore(stepGraph(config).table.specs, () => trains);
}

/** Writes a model. */
export function writeRecurrentLm(
  folder: string,
  config: RecurrentLmConfig,
  vocabulary: Vocabulary,
  store: Pick<ParameterStore, "specs" | "array">,
): void {
  const entries = [...store.specs.values()].map(({ name, shape }) => ({
    ...{ name, dtype: "F32" as const, shape, data: store.array(name) },
  }));
  writeSafetensors(join(folder, WEIGHTS), entries);
  writeJson(join(folder, SYMBOLS), targetToJson({ kind: "sequence", vocabulary }));
  writeJson(join(folder, CONFIG), { model_type: MODEL_TYPE, ...config, dnnNeurons: [...config.dnnNeurons] });
}

/** Reads what a folder says of its model. @throws UserError naming the file and the key */
export function readRecurrentLm(folder: string): { config: RecurrentLmConfig; vocabulary: Vocabulary } {
  const path = join(folder, CONFIG);
  const { model_type, symbols: _, ...rest } = readJsonObject(path);
  if (model_type !== MODEL_TYPE)
    throw new UserError(`${path}: is no ${MODEL_TYPE}; \`voxsmith lm train\` makes one`);
  const settings = recurrentLmSettings.safeParse(rest);
  if (!settings.success) {
    const [{ path: at, message }] = settings.error.issues;
    throw new UserError(`${path}: ${at.join(".")}: ${message}`);
  }
  const target = targetFromJson(readJsonObject(join(folder, SYMBOLS)) as Json);
  if (target.kind !== "sequence") throw new UserError(`${join(folder, SYMBOLS)}: is no list of symbols`);
  const { vocabulary } = target;
  return { config: { ...settings.data, symbols: vocabulary.size }, vocabulary };
}

/** A model at work, one symbol after the other. The blank stands for the start and the end of a sequence. */
export class RecurrentLanguageModel {
  readonly vocabulary: Vocabulary;
  private readonly config: RecurrentLmConfig;
  private readonly values: Readonly<Record<string, Value>>;
  private readonly program: Program;

  private constructor(
    config: RecurrentLmConfig,
    vocabulary: Vocabulary,
    values: Readonly<Record<string, Value>>,
    program: Program,
  ) {
    this.config = config;
    this.vocabulary = vocabulary;
    this.values = values;
    this.program = program;
  }

  /** @throws UserError naming the file that does not fit */
  static async open(folder: string, threads?: number): Promise<RecurrentLanguageModel> {
    const { config, vocabulary } = readRecurrentLm(folder);
    const store = recurrentLmStore(config, false);
    const wanted = new Map([...store.specs].map(([name, { shape }]) => [name, shape]));
    const source = openSafetensors(join(folder, WEIGHTS));
    try {
      const loaded = loadStrict(source, wanted, (name) => name);
      for (const name of wanted.keys()) loaded.readF32(name, store.array(name));
    } finally {
      source.close();
    }
    const { table, outputs, inputs } = stepGraph(config);
    const program = await compile(evaluationGraph(table, outputs, inputs), { threads });
    return new RecurrentLanguageModel(config, vocabulary, store.values, program);
  }

  /** Begins a sequence: each call reads one more symbol of each beam and gives the logits [beams, symbols] of the next. */
  begin(): (tokens: readonly number[], parents: readonly number[]) => Promise<Float32Array> {
    const { rnnLayers, rnnNeurons } = this.config;
    let memory: Record<string, Value> = Object.fromEntries(
      stateNames(rnnLayers).map((name) => [name, f32([1, rnnNeurons], new Float32Array(rnnNeurons))]),
    );
    return async (tokens, parents) => {
      const given = { newest: i32([tokens.length], tokens as number[]), ...reordered(memory, parents) };
      const { logits, ...next } = await this.program.run({ ...this.values, ...given });
      memory = Object.fromEntries(stateNames(rnnLayers).map((name) => [name, next[`next.${name}`]]));
      return logits.data as Float32Array;
    };
  }

  dispose(): Promise<void> {
    return this.program.dispose();
  }
}

const stateNames = (layers: number): string[] =>
  Array.from({ length: layers }, (_, i) => [`hidden.${i}`, `cell.${i}`]).flat();

function stepGraph(config: RecurrentLmConfig) {
  const table = new ParameterTable();
  const beams = symbol("beams");
  const newest = ops.input("newest", [beams], "i32");
  const states = Array.from({ length: config.rnnLayers }, (_, i) => ({
    hidden: ops.input(`hidden.${i}`, [beams, config.rnnNeurons]),
    cell: ops.input(`cell.${i}`, [beams, config.rnnNeurons]),
  }));
  const { logits, states: after } = recurrentLmStep(newest, states, config, table);
  const outputs: Record<string, Tensor> = { logits };
  for (const [i, { hidden, cell }] of after.entries())
    Object.assign(outputs, { [`next.hidden.${i}`]: hidden, [`next.cell.${i}`]: cell });
  return { table, outputs, inputs: [newest, ...states.flatMap(({ hidden, cell }) => [hidden, cell])] };
}
