import { join } from "node:path";
import { writeVocabulary } from "../corpus/vocab.ts";
import { isLora } from "../params/lora.ts";
import { writeAtomically } from "../weights/file.ts";
import { loadStrict } from "../weights/model-folder.ts";
import { type Family, HEADS_FILE, headOf, inTransformers } from "../weights/names.ts";
import { openSafetensors, type TensorEntry, writeSafetensors } from "../weights/safetensors.ts";
import { exportedEntry, peftConfig, writeAdapters } from "./adapter-plan.ts";
import type { Json } from "./checkpoint.ts";
import type { Stream } from "./data.ts";
import type { Model } from "./model.ts";
import type { ParameterStore } from "./store.ts";
import { targetToJson } from "./targets.ts";
import type { Task, TaskObjective } from "./task.ts";

/** Transformers' names of a family's classes begin so. */
const CLASSES: Readonly<Record<string, string>> = {
  wav2vec2: "Wav2Vec2",
  hubert: "Hubert",
  wavlm: "WavLM",
  "data2vec-audio": "Data2VecAudio",
};

const WEIGHTS = "model.safetensors";

/**
 * Writes a trained model as transformers loads it: with a CTC head named `lm_head` as `...ForCTC`, else with its first
 * pooled classifier as `...ForSequenceClassification`, else with wav2vec 2.0's pre-training heads as `...ForPreTraining`,
 * else bare. All heads but `lm_head` also stand, under our names, in
 * `heads.safetensors`; `targets.json` says what the heads' outputs mean.
 */
export function exportModel(
  folder: string,
  task: Task,
  store: ParameterStore,
  main: { readonly spec: Pick<Stream["spec"], "sampleRate" | "normalize"> },
): void {
  const { model, objectives } = task;
  const { classifier } = knownHeads(task);
  const entries: TensorEntry[] = [];
  const heads: TensorEntry[] = [];
  for (const name of store.specs.keys()) {
    const entry = exportedEntry(name, store, model);
    if (entry !== undefined) (isInModel(name, task) ? entries : heads).push(entry);
  }
  if (classifier !== undefined) entries.push(...asClassifier(classifier, store, model.upstream.hiddenSize));
  writeSafetensors(join(folder, WEIGHTS), entries);
  if (heads.length > 0) writeSafetensors(join(folder, HEADS_FILE), heads);
  const { sampleRate, normalize } = main.spec;
  const pretraining = entries.some(({ name }) => headOf(name) === "pre-training");
  writeDescription(
    folder,
    task,
    { sampleRate, normalize },
    pretraining ? { architectures: [`${CLASSES[model.upstream.modelType]}ForPreTraining`] } : {},
  );
  writeAdapters(folder, store, model);
  const peft = peftConfig(model);
  if (peft !== undefined) writeJson(join(folder, "adapter_config.json"), peft);
  const targets = Object.fromEntries(objectives.map(({ name, target }) => [name, targetToJson(target)]));
  writeJson(join(folder, "targets.json"), targets);
}

/** The heads that transformers has classes for: one CTC head, or else one pooled linear classifier. */
function knownHeads({ model, objectives, layers }: Task): {
  ctc?: TaskObjective;
  classifier?: TaskObjective;
} {
  const ctc = objectives.find(({ path }) => path === "lm_head");
  if (ctc !== undefined || layers !== "last" || model.crdnn !== undefined) return { ctc };
  const classifier = objectives.find(
    ({ spec }) => spec.loss === "cross-entropy" && spec.head === "linear" && spec.pool === "mean",
  );
  return { classifier };
}

/**
 * Writes the files that tell others how to feed a model and how to read it: `config.json` (with `more` keys),
 * `preprocessor_config.json`, and of a CTC model `vocab.json` and `tokenizer_config.json`.
 */
export function writeDescription(
  folder: string,
  task: Task,
  audio: { readonly sampleRate: number; readonly normalize: boolean },
  more: Record<string, unknown> = {},
): void {
  const { ctc, classifier } = knownHeads(task);
  writeJson(join(folder, "config.json"), { ...configOf(task.model, ctc, classifier), ...more });
  writeJson(join(folder, "preprocessor_config.json"), {
    feature_extractor_type: "Wav2Vec2FeatureExtractor",
    feature_size: 1,
    sampling_rate: audio.sampleRate,
    padding_value: 0,
    do_normalize: audio.normalize,
    return_attention_mask: task.model.masked,
  });
  if (ctc?.target.kind !== "sequence") return;
  writeVocabulary(join(folder, "vocab.json"), ctc.target.vocabulary);
  writeJson(join(folder, "tokenizer_config.json"), {
    tokenizer_class: "Wav2Vec2CTCTokenizer",
    pad_token: ctc.target.vocabulary.symbols[ctc.target.vocabulary.blank],
    unk_token: "<unk>",
    word_delimiter_token: "|",
    do_lower_case: false,
  });
}

/**
 * Whether a parameter stands in the model's own file: the upstream's, a CTC head's, and the pre-training heads where they
 * are the model's class in transformers. The rest stands in `heads.safetensors`.
 */
const isInModel = (name: string, task: Task): boolean =>
  name.startsWith(`${task.model.upstream.prefix}.`) ||
  name.startsWith("lm_head.") ||
  (headOf(name) === "pre-training" &&
    inTransformers(task.model.upstream.modelType as Family, name) &&
    isPretraining(task));

/** Whether transformers' class for the model is that of contrastive pre-training, which has all of its heads. */
function isPretraining(task: Task): boolean {
  const { ctc, classifier } = knownHeads(task);
  const contrastive = task.objectives.some(({ spec }) => spec.loss === "contrastive");
  return contrastive && task.layers === "last" && ctc === undefined && classifier === undefined;
}

/**
 * Our classifier W mean(h) + b as transformers' classifier(mean(projector(h))): the projector is the identity.
 */
function asClassifier({ path }: TaskObjective, store: ParameterStore, hidden: number): TensorEntry[] {
  const identity = new Float32Array(hidden * hidden);
  for (let i = 0; i < hidden; i++) identity[i * hidden + i] = 1;
  const own = (name: string, part: string): TensorEntry => {
    const { shape } = store.specs.get(`${path}.${part}`)!;
    return { name, dtype: "F32", shape: [...shape], data: store.array(`${path}.${part}`) };
  };
  return [
    { name: "projector.weight", dtype: "F32", shape: [hidden, hidden], data: identity },
    { name: "projector.bias", dtype: "F32", shape: [hidden], data: new Float32Array(hidden) },
    own("classifier.weight", "weight"),
    own("classifier.bias", "bias"),
  ];
}

function configOf(
  { config, written = config, upstream }: Model,
  ctc: TaskObjective | undefined,
  classifier: TaskObjective | undefined,
): Record<string, unknown> {
  const name = CLASSES[upstream.modelType] ?? upstream.modelType;
  const out: Record<string, unknown> = { model_type: upstream.modelType, ...written };
  delete out.vocab_size;
  if (ctc?.target.kind === "sequence" && ctc.spec.loss === "ctc") {
    const { size, blank } = ctc.target.vocabulary;
    return {
      ...out,
      architectures: [`${name}ForCTC`],
      vocab_size: size,
      pad_token_id: blank,
      // Hugging Face knows no mean of undivided losses; its sum is that for one utterance.
      ctc_loss_reduction: ctc.spec.reduction === "utterance" ? "sum" : ctc.spec.reduction,
      ctc_zero_infinity: ctc.spec.zeroInfinity,
    };
  }
  if (classifier?.target.kind === "class") {
    const { classes } = classifier.target.labels;
    return {
      ...out,
      architectures: [`${name}ForSequenceClassification`],
      classifier_proj_size: upstream.hiddenSize,
      use_weighted_layer_sum: false,
      id2label: Object.fromEntries(classes.map((label, i) => [String(i), label])),
      label2id: Object.fromEntries(classes.map((label, i) => [label, i])),
    };
  }
  return { ...out, architectures: [`${name}Model`] };
}

/** Reads an exported model back into a store of the same task, every tensor exactly once. */
export function importModel(folder: string, task: Task, store: ParameterStore): void {
  for (const [file, mine] of [
    [WEIGHTS, false],
    [HEADS_FILE, true],
  ] as const) {
    const wanted = new Map(
      [...store.specs]
        // LoRA's sums are part of the weights already.
        .filter(([name]) => isInModel(name, task) !== mine && !isLora(name))
        .map(([name, spec]) => [name, spec.shape]),
    );
    if (wanted.size === 0) continue;
    const source = openSafetensors(join(folder, file));
    // The classifier that transformers reads is a second copy of one of ours.
    const loaded = loadStrict(source, wanted, (name) =>
      /^(projector|classifier)\./.test(name) ? undefined : name,
    );
    for (const name of wanted.keys()) loaded.readF32(name, store.array(name));
    loaded.close();
  }
}

export function writeJson(path: string, value: Json | Record<string, unknown>): void {
  writeAtomically(path, (put) => put(Buffer.from(`${JSON.stringify(value, null, 2)}\n`)));
}
