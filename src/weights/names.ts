import { quote, UserError } from "../errors.ts";

/** Model families whose checkpoints we read, by Hugging Face's `model_type`; those that transformers does not have are ours. */
export type Family = "wav2vec2" | "hubert" | "wavlm" | "data2vec-audio" | OwnFamily;
type OwnFamily = "decoar2" | "pase" | "pase-plus" | "vq-wav2vec" | "log-mel";
const OWN: readonly string[] = [
  "decoar2",
  "pase",
  "pase-plus",
  "vq-wav2vec",
  "log-mel",
] satisfies OwnFamily[];

/** Whether transformers has a class for the family. */
export const isInTransformers = (family: Family): boolean => !OWN.includes(family);

/** What precedes an encoder's parameter names in a checkpoint with heads. */
export const PREFIXES: Record<Family, string> = {
  wav2vec2: "wav2vec2.",
  hubert: "hubert.",
  wavlm: "wavlm.",
  "data2vec-audio": "data2vec_audio.",
  decoar2: "decoar2.",
  pase: "pase.",
  "pase-plus": "pase_plus.",
  "vq-wav2vec": "vq_wav2vec.",
  "log-mel": "log_mel.",
};

// A bare base model (hubert-base-ls960, say) is saved without its prefix; these are the names it starts with.
const BARE = /^(feature_extractor|feature_projection|encoder|adapter)\.|^masked_spec_embed$/;
// Models that only their authors' files have keep the names there.
const AUTHORS: Partial<Record<Family, RegExp>> = {
  "vq-wav2vec": /^(feature_extractor|vector_quantizer|feature_aggregator)\./,
  "pase-plus": /^(blocks|denseskips|rnn|W|norm_out)\./,
};

// The parts that are not the encoder, by their first name. The pre-training ones are trained on in continued pre-training.
const TASK_HEADS = ["lm_head", "projector", "classifier", "layer_weights"];
const PRETRAINING_HEADS = ["quantizer", "project_q", "project_hid", "final_proj", "label_embs_concat"];

/** Which kind of head a parameter (by its Hugging Face name) belongs to; undefined for the encoder's. */
export function headOf(name: string): "task" | "pre-training" | undefined {
  const first = name.split(".")[0];
  if (TASK_HEADS.includes(first)) return "task";
  return PRETRAINING_HEADS.includes(first) ? "pre-training" : undefined;
}

/** The file, beside `model.safetensors`, for parameters that transformers' class of the family does not have. */
export const HEADS_FILE = "heads.safetensors";

/**
 * Whether transformers' class for the family has this parameter. Of pre-training heads it has wav2vec 2.0's alone; HuBERT's
 * exists only in fairseq. They go to a file of their own, so that transformers loads the rest without a warning.
 */
export const inTransformers = (family: Family, name: string): boolean =>
  isInTransformers(family) &&
  (headOf(name) !== "pre-training" ||
    (family === "wav2vec2" && !/^(final_proj\.|label_embs_concat$)/.test(name)));

/**
 * Weight normalisation w = g v / |v| has two spellings: `weight_g`, `weight_v` (torch.nn.utils.weight_norm) and
 * `parametrizations.weight.original0`, `original1` (PyTorch 2, what transformers writes now). This gives the latter.
 */
export const modernWeightNorm = (name: string): string =>
  name
    .replace(/(^|\.)weight_g$/, "$1parametrizations.weight.original0")
    .replace(/(^|\.)weight_v$/, "$1parametrizations.weight.original1");

/** The older spelling, for files that PyTorch 1 is to read. */
export const legacyWeightNorm = (name: string): string =>
  name
    .replace(/(^|\.)parametrizations\.weight\.original0$/, "$1weight_g")
    .replace(/(^|\.)parametrizations\.weight\.original1$/, "$1weight_v");

/**
 * The full current name of a parameter in a Hugging Face file of the family: weight norm in the current spelling, and the
 * prefix where the file is a bare base model.
 */
export function huggingFaceName(name: string, family: Family): string {
  const modern = modernWeightNorm(name);
  return (AUTHORS[family] ?? BARE).test(modern) ? PREFIXES[family] + modern : modern;
}

/** fairseq's names (s3prl and WavLM's authors use them too) and what transformers calls the same, in order of trial. */
const FAIRSEQ: readonly [RegExp, string][] = [
  [/^feature_extractor\.conv_layers\.(\d+)\.0\.(weight|bias)$/, "feature_extractor.conv_layers.$1.conv.$2"],
  // Group norm sits at 2; layer norm at 2.1, between two transpositions.
  [
    /^feature_extractor\.conv_layers\.(\d+)\.2(?:\.1)?\.(weight|bias)$/,
    "feature_extractor.conv_layers.$1.layer_norm.$2",
  ],
  [/^post_extract_proj\.(weight|bias)$/, "feature_projection.projection.$1"],
  [/^layer_norm\.(weight|bias)$/, "feature_projection.layer_norm.$1"],
  [/^mask_emb$/, "masked_spec_embed"],
  [/^encoder\.pos_conv\.0\.(weight_g|weight_v|bias)$/, "encoder.pos_conv_embed.conv.$1"],
  [/^encoder\.pos_conv\.(\d+)\.0\.(weight|bias)$/, "encoder.pos_conv_embed.layers.$1.conv.$2"],
  [
    /^encoder\.layers\.(\d+)\.self_attn\.([qkv]_proj|out_proj)\.(weight|bias)$/,
    "encoder.layers.$1.attention.$2.$3",
  ],
  [
    /^encoder\.layers\.(\d+)\.self_attn\.grep_linear\.(weight|bias)$/,
    "encoder.layers.$1.attention.gru_rel_pos_linear.$2",
  ],
  [/^encoder\.layers\.(\d+)\.self_attn\.grep_a$/, "encoder.layers.$1.attention.gru_rel_pos_const"],
  [
    /^encoder\.layers\.(\d+)\.self_attn\.relative_attention_bias\.weight$/,
    "encoder.layers.$1.attention.rel_attn_embed.weight",
  ],
  [/^encoder\.layers\.(\d+)\.self_attn_layer_norm\.(weight|bias)$/, "encoder.layers.$1.layer_norm.$2"],
  [/^encoder\.layers\.(\d+)\.fc1\.(weight|bias)$/, "encoder.layers.$1.feed_forward.intermediate_dense.$2"],
  [/^encoder\.layers\.(\d+)\.fc2\.(weight|bias)$/, "encoder.layers.$1.feed_forward.output_dense.$2"],
  [/^encoder\.layers\.(\d+)\.final_layer_norm\.(weight|bias)$/, "encoder.layers.$1.final_layer_norm.$2"],
  [/^encoder\.layer_norm\.(weight|bias)$/, "encoder.layer_norm.$1"],
];

const FAIRSEQ_HEADS: Partial<Record<Family, readonly [RegExp, string][]>> = {
  wav2vec2: [
    [/^quantizer\.vars$/, "quantizer.codevectors"],
    [/^quantizer\.weight_proj\.(weight|bias)$/, "quantizer.weight_proj.$1"],
    [/^project_q\.(weight|bias)$/, "project_q.$1"],
    [/^final_proj\.(weight|bias)$/, "project_hid.$1"],
  ],
  hubert: [
    [/^final_proj\.(weight|bias)$/, "final_proj.$1"],
    [/^label_embs_concat$/, "label_embs_concat"],
  ],
  wavlm: [
    [/^final_proj\.(weight|bias)$/, "final_proj.$1"],
    [/^label_embs_concat$/, "label_embs_concat"],
  ],
};

/** Tensors that are left out, and why. Anything else that no rule knows is an error. */
const DROPPED: Partial<Record<Family, readonly [RegExp, string][]>> = {
  "data2vec-audio": [
    [/^_ema$|^_ema\./, "the teacher's moving average, needed only to resume its own pre-training"],
    [/^final_proj\./, "data2vec's regression head, used only in its own pre-training"],
  ],
  "vq-wav2vec": [
    [
      /^(wav2vec_predictions|project_features)\./,
      "the prediction of later frames, used only in its own pre-training",
    ],
  ],
  "pase-plus": [
    [/\.num_batches_tracked$/, "batch norm's count of batches, which its statistics do not need"],
  ],
  // s3prl builds only the projection and the encoder, and loads the rest of the file into nothing.
  decoar2: [
    [/^mask_emb$/, "DeCoAR 2.0's mask vector, used only in its own pre-training"],
    [
      /^(layer_norm|quantizer|input_quantizer|project_q|project_inp|project_hid|final_proj|target_glu)\./,
      "DeCoAR 2.0's quantisation and reconstruction, used only in its own pre-training",
    ],
  ],
};

// What stands before fairseq's names: fine-tuned models, s3prl's experts, distributed training.
const WRAPPERS = /^(module\.)?(model\.)?(w2v_encoder\.w2v_model\.|encoder\.w2v_model\.)?/;

/** One tensor of a file that is read: what it is called there and here. */
export interface PlanLine {
  from: string;
  /** Absent where the tensor is dropped. */
  to?: string;
  action: "kept" | "renamed" | "dropped";
  why: string;
}

export interface NamePlan {
  lines: PlanLine[];
  /** From Hugging Face's names to those in the file, without what is dropped. */
  names: Map<string, string>;
}

/** Whether these are fairseq's names or Hugging Face's. */
export const speaksFairseq = (names: Iterable<string>): boolean =>
  [...names].some((name) => /(^|\.)(post_extract_proj|self_attn|fc1|pos_conv)\./.test(name));

function translate(from: string, family: Family, fairseq: boolean): PlanLine | undefined {
  const bare = from.replace(WRAPPERS, "");
  const dropped = DROPPED[family]?.find(([pattern]) => pattern.test(bare));
  if (dropped) return { from, action: "dropped", why: dropped[1] };
  if (!fairseq) {
    const to = huggingFaceName(from.replace(/^(module\.)?(model\.)?/, ""), family);
    if (!to.startsWith(PREFIXES[family]) && !headOf(to)) return undefined;
    return line(from, to, isInTransformers(family) ? "Hugging Face's own name" : "its authors' name for it");
  }
  // w2v_encoder.proj is the fine-tuned output layer; HuBERT's fine-tuned models call it the same.
  const output = /^(?:module\.)?w2v_encoder\.proj\.(weight|bias)$/.exec(from);
  if (output) return line(from, `lm_head.${output[1]}`, "fairseq's output layer");
  for (const [pattern, replacement] of FAIRSEQ) {
    if (pattern.test(bare)) {
      const to = PREFIXES[family] + modernWeightNorm(bare.replace(pattern, replacement));
      return line(from, to, "fairseq's name for it");
    }
  }
  for (const [pattern, replacement] of FAIRSEQ_HEADS[family] ?? []) {
    if (pattern.test(bare)) return line(from, bare.replace(pattern, replacement), "pre-training head");
  }
  return undefined;
}

const line = (from: string, to: string, why: string): PlanLine =>
  from === to ? { from, to, action: "kept", why } : { from, to, action: "renamed", why };

/**
 * What becomes of each tensor of a file, under Hugging Face's current names.
 *
 * @throws `UserError` for names no rule knows, and for two tensors of one name
 */
export function planNames(path: string, fileNames: Iterable<string>, family: Family): NamePlan {
  const all = [...fileNames];
  const fairseq = speaksFairseq(all);
  const lines: PlanLine[] = [];
  const names = new Map<string, string>();
  const unknown: string[] = [];
  for (const from of all) {
    const found = translate(from, family, fairseq);
    if (!found) {
      unknown.push(quote(from, 100));
      continue;
    }
    lines.push(found);
    if (found.to === undefined) continue;
    const other = names.get(found.to);
    if (other) throw new UserError(`${path}: both ${quote(other)} and ${quote(from)} are ${quote(found.to)}`);
    names.set(found.to, from);
  }
  if (unknown.length) {
    const shown = unknown.slice(0, 6).join(", ");
    throw new UserError(
      `${path}: holds ${unknown.length} tensors that no ${family} model has: ${shown}${unknown.length > 6 ? ", ..." : ""}`,
    );
  }
  return { lines, names };
}

/** The plan as text, one tensor a line: what becomes of it and why. */
export const formatPlan = ({ lines }: NamePlan): string[] =>
  lines.map(
    ({ from, to, action, why }) =>
      `${action.padEnd(8)} ${from}${action === "renamed" ? ` -> ${to}` : ""} (${why})`,
  );
