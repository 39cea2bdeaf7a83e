import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { wordStart } from "../../corpus/pieces.ts";
import { blankSymbol, unknownSymbol, type Vocabulary, wordDelimiter } from "../../corpus/vocab.ts";
import { writeDescription, writeJson } from "../../train/export.ts";
import { headHop } from "../../train/model.ts";
import type { OpenedModel } from "../../train/open-model.ts";
import type { Target } from "../../train/targets.ts";
import { ownVersion } from "../../train/versions.ts";
import { AUDIO, type ExportedGraph, type ExportedOutput, inputName, MASK } from "./graph.ts";

/** Key of the metadata in the model's own file, and name of the same beside it. */
export const METADATA_KEY = "voxsmith";
export const METADATA_FILE = "voxsmith.json";

/** What a program needs to know to feed an exported model and to read it. */
export interface ExportMetadata {
  readonly producer: string;
  readonly model: { readonly type: string; readonly layers: number; readonly hiddenSize: number };
  readonly opset: number;
  readonly quantized: boolean;
  readonly audio: {
    readonly input: string;
    /** Hz */
    readonly sampleRate: number;
    readonly channels: 1;
    /** Whether samples x must become (x - mean) / sqrt(variance + 1e-7) first. */
    readonly normalize: boolean;
    /** Samples that every recording has, zeros at its end, where the sizes are fixed; then `mask` marks real samples with ones. */
    readonly samples?: number;
    readonly mask?: string;
  };
  /** Samples between the beginnings of two frames. */
  readonly hop: number;
  readonly outputs: readonly OutputMetadata[];
  /** Inputs that differ between tasks, of a model with masks as inputs: they stand in a file for each task. */
  readonly task?: {
    /** Bool, true where the weight is kept. */
    readonly masks: readonly { readonly name: string; readonly shape: readonly number[] }[];
    /** Float32; sizes that symbols or classes decide are named. */
    readonly parameters: readonly { readonly name: string; readonly shape: readonly (number | string)[] }[];
  };
}

export type OutputMetadata = {
  readonly name: string;
  readonly objective?: string;
} & (
  | {
      readonly kind: "sequence";
      readonly unit: string;
      readonly blank: number;
      readonly symbols: readonly string[];
    }
  | { readonly kind: "class"; readonly label: string; readonly classes: readonly string[] }
  | { readonly kind: "number"; readonly label: string }
  /** A score for each class in every frame. */
  | { readonly kind: "frame-class"; readonly classes: readonly string[] }
  | { readonly kind: "features" }
  /** What it means stands in the task's file. */
  | { readonly kind: "task" }
);

export function metadataOf(
  { task, audio }: Pick<OpenedModel, "task" | "audio">,
  { outputs, samples, routed }: ExportedGraph,
  options: { readonly opset: number; readonly quantize: boolean },
): ExportMetadata {
  const { modelType, layers, hiddenSize } = task.model.upstream;
  return {
    producer: `voxsmith ${ownVersion()}`,
    model: { type: modelType, layers, hiddenSize },
    opset: options.opset,
    quantized: options.quantize,
    audio: { input: AUDIO, ...audio, channels: 1, ...(samples ? { samples, mask: MASK } : {}) },
    hop: headHop(task.model),
    outputs: outputs.map((output) =>
      routed === undefined
        ? outputMetadata(output)
        : { name: output.name, objective: output.objective?.name, kind: "task" },
    ),
    ...(routed && {
      task: {
        masks: routed.masks.map((input) => ({ name: inputName(input), shape: input.shape as number[] })),
        parameters: routed.own.map((input) => ({
          name: inputName(input),
          shape: input.shape.map((size) => (typeof size === "number" ? size : size.key)),
        })),
      },
    }),
  };
}

export function outputMetadata({ name, objective }: ExportedOutput): OutputMetadata {
  if (objective === undefined) return { name, kind: "features" };
  return { name, objective: objective.name, ...meaningOf(objective.target) };
}

function meaningOf(target: Target) {
  if (target.kind === "sequence") {
    const { symbols, blank, options } = target.vocabulary;
    return { kind: "sequence" as const, unit: options.unit, blank, symbols };
  }
  if (target.kind === "class") {
    const { label, classes } = target.labels;
    return { kind: "class" as const, label, classes };
  }
  if (target.kind === "frame-class") return { kind: "frame-class" as const, classes: target.labels.classes };
  if (target.kind === "number") return { kind: "number" as const, label: target.label };
  // Inference leaves the heads of pre-training out.
  throw new Error(`a target of ${target.kind} has no meaning outside of training`);
}

/** Writes what stands beside the model: the files that transformers.js reads, and the metadata as JSON. */
export function writeSidecars(
  folder: string,
  { task, audio }: Pick<OpenedModel, "task" | "audio">,
  metadata: ExportMetadata,
  external: boolean,
): void {
  mkdirSync(folder, { recursive: true });
  const more = external ? { "transformers.js_config": { use_external_data_format: true } } : {};
  writeDescription(folder, task, audio, more);
  const ctc = task.objectives.find(({ path }) => path === "lm_head");
  if (ctc?.target.kind === "sequence")
    writeJson(join(folder, "tokenizer.json"), tokenizerOf(ctc.target.vocabulary));
  writeJson(join(folder, METADATA_FILE), { ...metadata });
}

/** A vocabulary in the form of Hugging Face's `tokenizers`, as transformers.js wants it. */
function tokenizerOf(vocabulary: Vocabulary): Record<string, unknown> {
  const { symbols, blank, options } = vocabulary;
  // Their decoder joins symbols as they are: phones bring the space between them along.
  const space = options.unit === "characters" || options.unit === "pieces" ? "" : " ";
  const delimiter = options.unit === "pieces" ? wordStart : wordDelimiter;
  const special = new Set([symbols[blank], blankSymbol, unknownSymbol, "<s>", "</s>", "[PAD]", "[UNK]"]);
  const spelt = symbols.map((symbol) => (special.has(symbol) ? symbol : `${symbol}${space}`));
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    // The blank is not called special: it has to be there when repeats are merged.
    added_tokens: symbols.flatMap((content, id) =>
      special.has(content) && id !== blank ? [{ id, content, special: true, ...PLAIN }] : [],
    ),
    normalizer: { type: "Replace", pattern: { String: " " }, content: delimiter },
    pre_tokenizer: { type: "Split", pattern: { Regex: "" }, behavior: "Isolated", invert: false },
    post_processor: null,
    decoder: { type: "CTC", pad_token: symbols[blank], word_delimiter_token: delimiter, cleanup: true },
    model: { vocab: Object.fromEntries(spelt.map((symbol, i) => [symbol, i])) },
  };
}

const PLAIN = { single_word: false, lstrip: false, rstrip: false, normalized: false };
