import { existsSync } from "node:fs";
import { join } from "node:path";
import { LabelVocabulary, Vocabulary, type VocabularySettings, wordDelimiter } from "../corpus/vocab.ts";
import { quote, UserError } from "../errors.ts";
import type { Checkpoint } from "../weights/checkpoint.ts";
import { readJsonObject } from "../weights/shards.ts";
import type { TensorFile } from "../weights/tensor-file.ts";
import { objective } from "./losses/index.ts";
import type { ParameterStore } from "./store.ts";
import type { TaskObjective } from "./task.ts";

/** The head of a model that was trained elsewhere, as an objective of ours. */
export interface Head {
  readonly objective: TaskObjective;
  /** Reads its weights into the store. */
  load(weights: TensorFile, store: ParameterStore): void;
  readonly notes: readonly string[];
}

/**
 * The CTC head (`lm_head`) or pooled classifier (`projector`, `classifier`) of a checkpoint; undefined where it has none, or
 * where nothing says what a CTC head's outputs mean.
 * @throws UserError where there are labels, but not as many as outputs
 */
export function checkpointHead(checkpoint: Checkpoint, hidden: number): Head | undefined {
  const { infos } = checkpoint.weights;
  if (infos.has("lm_head.weight")) return ctcHead(checkpoint, infos.get("lm_head.weight")!.shape[0]);
  if (infos.has("classifier.weight") && infos.has("projector.weight"))
    return classifierHead(checkpoint, hidden);
  return undefined;
}

function ctcHead(checkpoint: Checkpoint, outputs: number): Head | undefined {
  const vocabulary = vocabularyOf(checkpoint, outputs);
  if (vocabulary === undefined) return undefined;
  const { unit, letterCase } = vocabulary.options;
  const spec = objective.parse({ loss: "ctc", target: unit, letterCase });
  return {
    objective: { name: unit, spec, target: { kind: "sequence", vocabulary }, path: "lm_head" },
    load(weights, store) {
      for (const part of ["lm_head.weight", "lm_head.bias"]) weights.readF32(part, store.array(part));
    },
    notes: [],
  };
}

/** The symbols of a CTC head: those of the checkpoint itself, or of `vocab.json` beside it with its added tokens. */
function vocabularyOf(checkpoint: Checkpoint, outputs: number): Vocabulary | undefined {
  const { path, config } = checkpoint;
  const file = join(path, "vocab.json");
  const given = checkpoint.vocabulary ?? (existsSync(file) ? symbolsIn(path) : undefined);
  if (given === undefined) return undefined;
  const tokenizer = optional(join(path, "tokenizer_config.json"));
  const symbols: string[] = [];
  for (const [symbol, index] of given) {
    if (!Number.isInteger(index) || index < 0 || index >= outputs || symbols[index] !== undefined)
      throw new UserError(
        `${file}: the index of ${quote(symbol)} is ${quote(index)}; each symbol needs one of its own below the ${outputs} outputs of the model`,
      );
    symbols[index] = symbol;
  }
  // Models are often given more outputs than their tokenizer knows; those are never right.
  for (let i = 0; i < outputs; i++) symbols[i] ??= `<unused ${i}>`;
  const { pad_token_id: pad } = config;
  const blank = typeof pad === "number" ? pad : symbols.findIndex((s) => s === "<pad>" || s === "[PAD]");
  if (symbols[blank] === undefined)
    throw new UserError(
      `${join(path, "config.json")}: "pad_token_id" names no symbol to serve as the CTC blank`,
    );
  const delimiter = tokenizer["word_delimiter_token"];
  const spaced = typeof delimiter === "string" ? symbols.indexOf(delimiter) : -1;
  // Some vocabularies write the space between words as a space.
  if (spaced >= 0) symbols[spaced] = wordDelimiter;
  return new Vocabulary(symbols, optionsOf(symbols, blank, tokenizer));
}

function optionsOf(
  symbols: readonly string[],
  blank: number,
  tokenizer: Record<string, unknown>,
): VocabularySettings {
  const own = symbols.filter((symbol) => !/^([<[].+[>\]]|\|)$/u.test(symbol));
  const phonemes =
    tokenizer["tokenizer_class"] === "Wav2Vec2PhonemeCTCTokenizer" || !symbols.includes(wordDelimiter);
  const all = own.join("");
  return {
    unit: phonemes && own.some((symbol) => [...symbol].length > 1) ? "phones" : "characters",
    blank,
    letterCase:
      all === all.toUpperCase() && all !== all.toLowerCase()
        ? "upper"
        : all === all.toLowerCase() && all !== all.toUpperCase()
          ? "lower"
          : "keep",
    dropStress: false,
    unknown: false,
  };
}

function symbolsIn(folder: string): [string, number][] {
  const all = {
    ...readJsonObject(join(folder, "vocab.json")),
    ...optional(join(folder, "added_tokens.json")),
  };
  return Object.entries(all) as [string, number][];
}

const optional = (path: string): Record<string, unknown> => (existsSync(path) ? readJsonObject(path) : {});

/**
 * transformers' classifier(mean(projector(h))) as one linear head on the mean: W = Wc Wp, b = Wc bp + bc. Exact, since the
 * mean of a linear function is the function of the mean.
 */
function classifierHead({ path, config, weights }: Checkpoint, hidden: number): Head {
  const where = join(path, "config.json");
  if (config["use_weighted_layer_sum"] === true)
    throw new UserError(`${where}: a classifier over a weighted sum of layers is not supported`);
  const [count, inner] = weights.infos.get("classifier.weight")!.shape;
  const names = config["id2label"];
  const labels: Record<string, unknown> = typeof names === "object" && names !== null ? { ...names } : {};
  const classes = Array.from({ length: count }, (_, i) => String(labels[i] ?? `LABEL_${i}`));
  if (new Set(classes).size < count) throw new UserError(`${where}: "id2label" names a class twice`);
  const spec = objective.parse({ loss: "cross-entropy", target: "labels.class" });
  const target = { kind: "class" as const, labels: new LabelVocabulary("class", classes) };
  return {
    objective: { name: "class", spec, target, path: "heads.class" },
    load(file, store) {
      const read = (name: string) => file.readF32(name);
      const [wp, bp] = [read("projector.weight"), read("projector.bias")];
      const [wc, bc] = [read("classifier.weight"), read("classifier.bias")];
      const [w, b] = [store.array("heads.class.weight"), store.array("heads.class.bias")];
      for (let c = 0; c < count; c++) {
        b[c] = bc[c];
        for (let k = 0; k < inner; k++) {
          const factor = wc[c * inner + k];
          b[c] += factor * bp[k];
          for (let h = 0; h < hidden; h++) w[c * hidden + h] += factor * wp[k * hidden + h];
        }
      }
    },
    notes: [],
  };
}
