import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { quote, UserError } from "../errors.ts";
import { configFrom, familyByNames, findSettings, settingsFromShapes } from "./fairseq-config.ts";
import { reason } from "./file.ts";
import { openModelFolder } from "./model-folder.ts";
import {
  type Family,
  HEADS_FILE,
  headOf,
  type NamePlan,
  type PlanLine,
  PREFIXES,
  planNames,
} from "./names.ts";
import { pasePlusConfigFrom } from "./own-config.ts";
import { Instance, TensorRef } from "./pickle-globals.ts";
import { lookUp, type Plain, plainOf, type Settings } from "./plain-data.ts";
import { openSafetensors } from "./safetensors.ts";
import { readJsonObject } from "./shards.ts";
import { joined, renamed, type TensorFile } from "./tensor-file.ts";
import { openTorchArchive } from "./torch-archive.ts";

/** A pre-trained or fine-tuned model from any source, in Hugging Face's terms. */
export interface Checkpoint {
  path: string;
  /** What kind of file it was, for the plan's heading. */
  source:
    | "Hugging Face folder"
    | "fairseq"
    | "WavLM"
    | "s3prl"
    | "s3prl downstream run"
    | "DeCoAR 2.0"
    | "PASE+"
    | "no weights";
  family: Family;
  /** As in `config.json`. */
  config: Record<string, unknown>;
  /** As in `preprocessor_config.json`; undefined where the source does not say. */
  preprocessor?: Record<string, unknown>;
  /** As in `vocab.json`: the output symbols of a fine-tuned model, blank first. */
  vocabulary?: Map<string, number>;
  /** Every parameter by its current Hugging Face name, pre-training heads included. */
  weights: TensorFile;
  plan: NamePlan;
  /** What the source does not say and was taken as usual. */
  notes: string[];
}

const FAMILIES = Object.keys(PREFIXES) as Family[];

/**
 * Opens a Hugging Face folder, a fairseq `.pt` (pre-trained or fine-tuned, `args` or `cfg`), WavLM's and DeCoAR 2.0's own
 * `.pt`, a model that s3prl converted, or an s3prl `.ckpt` of a run that trained its upstream.
 *
 * @param options.dictionary the `dict.*.txt` of a fine-tuned fairseq model, where it is neither inside nor beside it
 * @throws `UserError` that names the file, and the tensor or key
 */
export function openCheckpoint(path: string, options: { dictionary?: string } = {}): Checkpoint {
  if (!existsSync(path)) throw new UserError(`${path}: does not exist`);
  return statSync(path).isDirectory() ? openFolder(path) : openTorchCheckpoint(path, options.dictionary);
}

function openFolder(path: string): Checkpoint {
  const { config, weights } = openModelFolder(path);
  const family = FAMILIES.find((candidate) => candidate === config["model_type"]);
  if (!family) {
    weights.close();
    throw new UserError(
      `${join(path, "config.json")}: model_type is ${quote(config["model_type"])}; readable are ${FAMILIES.join(", ")}`,
    );
  }
  const files = [weights];
  try {
    const heads = join(path, HEADS_FILE);
    const dropped: PlanLine[] = [];
    if (existsSync(heads)) files.push(pretrainingHeads(openSafetensors(heads), dropped));
    const all = joined(path, files);
    const plan = planNames(path, all.infos.keys(), family);
    plan.lines.push(...dropped);
    const named = renamed(all, plan.names);
    const audio = join(path, "preprocessor_config.json");
    const preprocessor = existsSync(audio) ? readJsonObject(audio) : undefined;
    return {
      path,
      source: "Hugging Face folder",
      family,
      config,
      preprocessor,
      weights: named,
      plan,
      notes: [],
    };
  } catch (error) {
    for (const file of files) file.close();
    throw error;
  }
}

/** Of the parameters that transformers has no place for, those of pre-training; a run's task heads are its own affair. */
function pretrainingHeads(file: TensorFile, dropped: PlanLine[]): TensorFile {
  const names = [...file.infos.keys()];
  const kept = names.filter((name) => headOf(name) === "pre-training");
  for (const from of names)
    if (headOf(from) !== "pre-training")
      dropped.push({ from, action: "dropped", why: "a run's task head, which only the run itself uses" });
  return renamed(file, new Map(kept.map((name) => [name, name])));
}

// What continued pre-training needs beside the encoder.
const PRETRAINING: Partial<Record<Family, string[]>> = {
  wav2vec2: [
    "quantizer.codevectors",
    "quantizer.weight_proj.weight",
    "project_q.weight",
    "project_hid.weight",
  ],
  hubert: ["final_proj.weight", "label_embs_concat"],
};

/** The pre-training heads that a model's family needs (undefined where none are known), and those it lacks. */
export function pretrainingHeadsOf({ family, weights }: Checkpoint, needed = PRETRAINING[family]) {
  return { needed, missing: (needed ?? []).filter((name) => !weights.infos.has(name)) };
}

/**
 * Refuses a model that cannot be pre-trained further because its pre-training heads are not in the file: by default all
 * those of its family, else the given ones.
 */
export function requirePretrainingHeads(checkpoint: Checkpoint, wanted?: string[]): void {
  const { path, family } = checkpoint;
  const { needed, missing } = pretrainingHeadsOf(checkpoint, wanted);
  if (!needed) throw new UserError(`${path}: continued pre-training of ${family} models is not supported`);
  if (missing.length === 0) return;
  throw new UserError(
    `${path}: cannot be pre-trained further, for it lacks the pre-training heads (${missing.join(", ")}); ` +
      `fine-tuned models and many hub copies have lost them: start from the original pre-trained checkpoint`,
  );
}

function openTorchCheckpoint(path: string, dictionary: string | undefined): Checkpoint {
  const archive = openTorchArchive(path);
  try {
    const { root } = archive;
    if (!(root instanceof Map)) throw new UserError(`${path}: is not a checkpoint (no dict at its top)`);
    if (root.has("Downstream") || root.has("Featurizer")) return fromDownstreamRun(path, archive, root);
    const state = root.get("state_dict") instanceof Map ? (root.get("state_dict") as Dict) : root;
    if (state.has("blocks.0.conv.low_hz_")) return fromPasePlus(path, archive, state);
    const weightsKey = root.has("model_weight") ? "model_weight" : "model";
    const tensors = root.get(weightsKey);
    if (!(tensors instanceof Map)) {
      throw new UserError(
        `${path}: holds no "model"; a bare state dict says nothing of its model: put it into a folder ` +
          `as pytorch_model.bin, beside config.json`,
      );
    }
    return fromModel(path, archive, root, tensors, dictionary);
  } catch (error) {
    archive.close();
    throw error;
  }
}

type Archive = ReturnType<typeof openTorchArchive>;
type Dict = Map<unknown, unknown>;

/** The tensors of a state dict by their names in the file; what else lies among them counts only as a name. */
function collect(path: string, dict: Dict): { refs: Map<string, TensorRef>; others: string[] } {
  const refs = new Map<string, TensorRef>();
  const others: string[] = [];
  for (const [name, value] of dict) {
    if (typeof name !== "string") throw new UserError(`${path}: has a tensor without a name`);
    if (value instanceof TensorRef) refs.set(name, value);
    else others.push(name);
  }
  return { refs, others };
}

function named(
  path: string,
  archive: Archive,
  dict: Dict,
  family: Family,
): { weights: TensorFile; plan: NamePlan } {
  const { refs, others } = collect(path, dict);
  const plan = planNames(path, [...refs.keys(), ...others], family);
  const stray = others.find((name) => [...plan.names.values()].includes(name));
  if (stray !== undefined) throw new UserError(`${path}: ${quote(stray)} is no tensor`);
  return { weights: renamed(archive.tensors(refs), plan.names), plan };
}

function fromPasePlus(path: string, archive: Archive, state: Dict): Checkpoint {
  const { weights, plan } = named(path, archive, state, "pase-plus");
  const notes = ["SincNet filters of 251 samples and strides 1, 10, 2, 1, 2, 1, 2, 2, as in PASE+.cfg"];
  const config = pasePlusConfigFrom(path, weights);
  return { path, source: "PASE+", family: "pase-plus", config, weights, plan, notes };
}

function fromModel(
  path: string,
  archive: Archive,
  root: Dict,
  tensors: Dict,
  dictionary: string | undefined,
): Checkpoint {
  const names = [...tensors.keys()].filter((name) => typeof name === "string");
  const state = stateOf(path, root, names);
  const structural = familyByNames(names);
  if (structural === "decoar2") {
    const { weights, plan } = named(path, archive, tensors, "decoar2");
    const { settings, notes } = settingsFromShapes(path, "decoar2", weights);
    const config = configFrom(path, settings, weights);
    return { path, source: "DeCoAR 2.0", family: "decoar2", config, weights, plan, notes };
  }
  const settings = findSettings(path, state);
  if (!settings) throw new UserError(`${path}: holds neither "cfg" nor "args", so its model cannot be told`);
  const { family, task } = settings;
  const { weights, plan } = named(path, archive, tensors, family);
  const config = configFrom(path, settings, weights);
  const checkpoint: Checkpoint = { path, source: "fairseq", family, config, weights, plan, notes: [] };
  if (root.has("model_weight")) checkpoint.source = "s3prl";
  else if (family === "wavlm") checkpoint.source = "WavLM";
  const normalize = task.get("normalize") ?? settings.model.get("normalize");
  checkpoint.preprocessor = {
    feature_extractor_type: "Wav2Vec2FeatureExtractor",
    feature_size: 1,
    sampling_rate: typeof task.get("sample_rate") === "number" ? task.get("sample_rate") : 16000,
    padding_value: 0,
    do_normalize: normalize === true,
    // Group norm sees padding whatever the mask says; fairseq's base models were trained without one.
    return_attention_mask: config["feat_extract_norm"] !== "group",
  };
  const output = weights.infos.get("lm_head.weight");
  if (output) {
    checkpoint.vocabulary = vocabularyOf(path, root, task, dictionary, output.shape[0]);
    if (!checkpoint.vocabulary) {
      checkpoint.notes.push(
        "no dictionary inside or beside the file: output symbols are known by number only",
      );
    }
  }
  return checkpoint;
}

/** The settings a checkpoint saves; of its tensors only the names, which tell families apart. */
function stateOf(path: string, root: Dict, tensorNames: string[]): Settings {
  const state: Settings = new Map();
  for (const key of ["cfg", "args", "model_cfg", "task_cfg"]) {
    const value = plainOf(path, root.get(key));
    if (value !== null) state.set(key, value);
  }
  state.set("model", new Map(tensorNames.map((name): [string, Plain] => [name, null])));
  return state;
}

/** s3prl saves a run as {Upstream, Featurizer, Downstream, Optimizer, Args, Config, ...}; frozen upstreams are left out. */
function fromDownstreamRun(path: string, archive: Archive, root: Dict): Checkpoint {
  const upstream = root.get("Upstream");
  if (!(upstream instanceof Map)) {
    throw new UserError(
      `${path}: is an s3prl run whose upstream was frozen, so it holds a downstream head only; use the upstream's own file`,
    );
  }
  const args = plainOf(path, root.get("Args"));
  const name = lookUp(args, "upstream");
  const names = [...upstream.keys()].filter((key) => typeof key === "string");
  const family =
    familyByNames(names.map((key) => key.replace(/^model\./, ""))) ?? familyOfUpstream(path, name);
  const { weights, plan } = named(path, archive, upstream, family);
  const { settings, notes } = settingsFromShapes(path, family, weights);
  const config = configFrom(path, settings, weights);
  return { path, source: "s3prl downstream run", family, config, weights, plan, notes };
}

function familyOfUpstream(path: string, name: Plain | undefined): Family {
  const known: [RegExp, Family][] = [
    [/hubert/, "hubert"],
    [/wavlm/, "wavlm"],
    [/data2vec/, "data2vec-audio"],
    [/decoar2/, "decoar2"],
    [/wav2vec2|xls_?r/, "wav2vec2"],
  ];
  const found = typeof name === "string" ? known.find(([pattern]) => pattern.test(name)) : undefined;
  if (!found)
    throw new UserError(`${path}: is an s3prl run of the upstream ${quote(name)}, which we do not build`);
  return found[1];
}

/**
 * The symbols of a fine-tuned model: from its task state, from the file that is named, or from `dict.LABELS.txt` beside
 * it. fairseq's CTC blank is its first symbol, `<s>`, and `<pad>` the second; transformers calls the blank `<pad>`, so the
 * two change names.
 */
function vocabularyOf(
  path: string,
  root: Dict,
  task: Settings,
  dictionary: string | undefined,
  size: number,
): Map<string, number> | undefined {
  const symbols =
    dictionary !== undefined
      ? readDictionary(dictionary)
      : (savedSymbols(root) ?? dictionaryBeside(path, task.get("labels")));
  if (!symbols) return undefined;
  if (symbols.length !== size) {
    throw new UserError(
      `${dictionary ?? path}: the dictionary has ${symbols.length} symbols, the output layer ${size} rows`,
    );
  }
  const vocabulary = new Map(symbols.map((symbol, i) => [symbol, i]));
  vocabulary.set("<pad>", 0);
  vocabulary.set("<s>", 1);
  return new Map([...vocabulary].sort((a, b) => a[1] - b[1]));
}

function savedSymbols(root: Dict): string[] | undefined {
  const task = root.get("task_state");
  const saved = task instanceof Map ? task.get("target_dictionary") : undefined;
  if (!(saved instanceof Instance) || !saved.className.endsWith(".Dictionary")) return undefined;
  const symbols = saved.fields.get("symbols");
  return Array.isArray(symbols) && symbols.every((symbol) => typeof symbol === "string")
    ? symbols
    : undefined;
}

function dictionaryBeside(path: string, labels: Plain | undefined): string[] | undefined {
  if (typeof labels !== "string" || !/^\w+$/.test(labels)) return undefined;
  const beside = join(dirname(path), `dict.${labels}.txt`);
  return existsSync(beside) ? readDictionary(beside) : undefined;
}

/** fairseq's dictionary file: a symbol and its count on each line; four special symbols come first, unwritten. */
export function readDictionary(path: string): string[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new UserError(`${path}: ${reason(error)}`);
  }
  const symbols = ["<s>", "<pad>", "</s>", "<unk>"];
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    if (line === "") continue;
    const match = /^(.+?) (\d+)( #fairseq:overwrite)?$/.exec(line);
    if (!match) throw new UserError(`${path}:${i + 1}: ${quote(line)} is not a symbol and its count`);
    if (symbols.includes(match[1]) && !match[3]) {
      throw new UserError(`${path}:${i + 1}: the symbol ${quote(match[1])} is there twice`);
    }
    symbols.push(match[1]);
  }
  return symbols;
}
