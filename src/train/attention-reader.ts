import type { Vocabulary } from "../corpus/vocab.ts";
import { type AttentionSearch, attentionBeam } from "../decode/attention-beam.ts";
import { logSoftmax } from "../decode/ctc.ts";
import { reordered } from "../decode/sequence-beam.ts";
import { UserError } from "../errors.ts";
import { type AttentionDecoderConfig, firstState, remember, write } from "../nn/attention-decoder.ts";
import * as ops from "../ops/index.ts";
import { ParameterTable } from "../params/params.ts";
import { compile } from "../runtime/cpu.ts";
import { f32, i32, type Value } from "../runtime/program.ts";
import { symbol } from "../tensor/dims.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ReadingOptions } from "./losses/kind.ts";
import { evaluationGraph } from "./program.ts";
import type { WeightedLanguageModel } from "./recurrent-lm.ts";

export interface Writing extends AttentionSearch {
  /** The decoder's logits are divided by it. */
  readonly temperature: number;
  /** Symbols at most, as a share of the encoder's states. */
  readonly longest: number;
}

/** Writes what a decoder with attention hears in an utterance, symbol by symbol. */
export interface AttentionReader {
  /** The symbols of an encoder's states [frames, dim]. */
  read(states: Float32Array, frames: number): Promise<readonly number[]>;
  dispose(): Promise<void>;
}

/**
 * @param path where the decoder's parameters are in `values`
 * @param dim width of the encoder's states
 * @throws UserError where the language model is over other symbols
 */
export async function openAttentionReader(
  config: AttentionDecoderConfig,
  path: string,
  dim: number,
  vocabulary: Vocabulary,
  values: Readonly<Record<string, Value>>,
  writing: Writing,
  { threads, languageModel }: Pick<ReadingOptions, "threads" | "languageModel">,
): Promise<AttentionReader> {
  if (languageModel !== undefined) checkSymbols(vocabulary, languageModel.model.vocabulary);
  const begin = await compiled(listening(config, path, dim), threads);
  const go = await compiled(stepping(config, path), threads);
  const { blank: end, size } = vocabulary;
  return {
    async read(states, frames) {
      const heard = await begin.run(
        { states: f32([1, frames, dim], states), frames: i32([1], [frames]) },
        values,
      );
      const { keys, values: contents, hidden, context, attention } = heard;
      let memory: Record<string, Value> = { hidden, context, attention };
      const ask = languageModel?.model.begin();
      const { tokens } = await attentionBeam({
        ...writing,
        ...{ start: end, end, longest: Math.max(1, Math.floor(frames * writing.longest)) },
        async step(newest, parents) {
          const given = { previous: i32([newest.length, 1], newest as number[]), keys, contents };
          const { logits, ...next } = await go.run({ ...given, ...reordered(memory, parents) }, values);
          memory = {
            hidden: next["next.hidden"],
            context: next["next.context"],
            attention: next["next.attention"],
          };
          return {
            logs: cooled(logits.data as Float32Array, size, writing.temperature),
            attention: memory.attention.data as Float32Array,
            fused: ask && fused(await ask(newest, parents), size, languageModel!),
          };
        },
      });
      return tokens;
    },
    async dispose() {
      await begin.dispose();
      await go.dispose();
    },
  };
}

/** Log probabilities of logits that are divided by a temperature first. */
const cooled = (logits: Float32Array, size: number, temperature: number): Float64Array =>
  logSoftmax(
    logits.map((x) => x / temperature),
    logits.length / size,
    size,
  );

const fused = (
  logits: Float32Array,
  size: number,
  { weight, temperature }: WeightedLanguageModel,
): Float64Array => cooled(logits, size, temperature).map((log) => weight * log);

function checkSymbols(own: Vocabulary, other: Vocabulary): void {
  const at = Array.from({ length: Math.max(own.size, other.size) }, (_, i) => i).find(
    (i) => own.symbols[i] !== other.symbols[i],
  );
  if (at === undefined) return;
  throw new UserError(
    `--lm: is over ${other.size} symbols, of which number ${at} is ${JSON.stringify(other.symbols[at])}, and the model writes ${own.size}, of which it is ${JSON.stringify(own.symbols[at])}; train it with the model's own (\`voxsmith lm train --units RUN\`)`,
  );
}

interface Traced {
  readonly table: ParameterTable;
  readonly outputs: Readonly<Record<string, Tensor>>;
  readonly inputs: readonly Tensor[];
}

/** A program that is fed those of the parameters that it has. */
async function compiled({ table, outputs, inputs }: Traced, threads: number | undefined) {
  const program = await compile(evaluationGraph(table, outputs, inputs), { threads });
  const names = [...table.specs.keys()];
  return {
    run: (given: Record<string, Value>, values: Readonly<Record<string, Value>>) =>
      program.run({ ...Object.fromEntries(names.map((name) => [name, values[name]])), ...given }),
    dispose: () => program.dispose(),
  };
}

/** What is computed once of an utterance. */
function listening(config: AttentionDecoderConfig, path: string, dim: number): Traced {
  const table = new ParameterTable();
  const states = ops.input("states", [1, symbol("frames"), dim]);
  const frames = ops.input("frames", [1], "i32");
  const memory = remember(states, frames, config, table.at(path));
  const { keys, values } = memory;
  return { table, outputs: { keys, values, ...firstState(memory, config) }, inputs: [states, frames] };
}

/** One symbol more of each beam; all beams look at the one utterance. */
function stepping(config: AttentionDecoderConfig, path: string): Traced {
  const table = new ParameterTable();
  const [beams, frames] = [symbol("beams"), symbol("frames")];
  const previous = ops.input("previous", [beams, 1], "i32");
  const [keys, contents] = ["keys", "contents"].map((name) => ops.input(name, [1, frames, config.attention]));
  const from = {
    hidden: ops.input("hidden", [beams, config.hidden]),
    context: ops.input("context", [beams, config.attention]),
    attention: ops.input("attention", [beams, frames]),
  };
  const valid = ops.equal(ops.constant([1, 1], [0], "i32"), ops.constant([1, 1], [0], "i32"));
  const memory = { keys, values: contents, valid };
  const { logits, states } = write(previous, memory, from, config, table.at(path));
  const last = (x: Tensor): Tensor => ops.reshape(x, x.shape.slice(1));
  const outputs = {
    logits,
    "next.hidden": last(states.hidden),
    "next.context": last(states.context),
    "next.attention": last(states.attention),
  };
  return { table, outputs, inputs: [previous, keys, contents, from.hidden, from.context, from.attention] };
}
