import { quote, UserError } from "../errors.ts";
import { convLayers } from "./conv-layers.ts";
import { type Family, PREFIXES } from "./names.ts";
import { vqWav2VecConfigFrom } from "./own-config.ts";
import { lookUp, type Plain, type Settings } from "./plain-data.ts";
import type { TensorFile } from "./tensor-file.ts";

/** Settings of a checkpoint by their place, whichever of fairseq's three forms it has. */
export interface CheckpointSettings {
  family: Family;
  /** The pre-trained model's own settings. */
  model: Settings;
  task: Settings;
  /** What fine-tuning overrides: dropouts and masking of the outer model. */
  fineTuning?: Settings;
}

const FAMILY_OF: Record<string, Family> = {
  wav2vec2: "wav2vec2",
  hubert: "hubert",
  data2vec_audio: "data2vec-audio",
  wavlm: "wavlm",
};

const asSettings = (value: Plain | undefined): Settings | undefined =>
  value instanceof Map ? value : undefined;

/**
 * Finds model and task in what a checkpoint saved: `cfg` with its groups (omegaconf), `args` in one flat list (argparse),
 * s3prl's `model_cfg` and `task_cfg`, or WavLM's flat `cfg`.
 *
 * @returns undefined where the checkpoint holds no settings at all
 */
export function findSettings(path: string, state: Settings): CheckpointSettings | undefined {
  const model = asSettings(state.get("model_cfg"));
  if (model) {
    const task = asSettings(state.get("task_cfg")) ?? new Map();
    return { family: familyOf(path, model, state), model, task };
  }
  const root = asSettings(state.get("cfg")) ?? asSettings(state.get("args"));
  if (!root) return undefined;
  return unwrap(path, root, state);
}

// A model fine-tuned from a fine-tuned one nests its settings once more; a file that never ends is no such thing.
const MAX_STAGES = 8;

function unwrap(path: string, root: Settings, state: Settings, stage = 0): CheckpointSettings {
  if (stage > MAX_STAGES) throw new UserError(`${path}: has w2v_args within w2v_args without end`);
  // In the flat forms one map serves as model and task.
  const model = asSettings(root.get("model")) ?? root;
  const task = asSettings(root.get("task")) ?? root;
  const inner = asSettings(model.get("w2v_args"));
  if (inner) {
    const { family, model: pretrained } = unwrap(path, inner, state, stage + 1);
    return {
      family,
      model: resolved(inner, pretrained),
      task: resolved(root, task),
      fineTuning: resolved(root, model),
    };
  }
  if (model.has("w2v_path")) {
    throw new UserError(
      `${path}: is fine-tuned, but does not hold the settings of the model it started from (w2v_args); ` +
        `fairseq itself would need ${quote(model.get("w2v_path"))}`,
    );
  }
  return {
    family: familyOf(path, model, state),
    model: resolved(root, model),
    task: resolved(root, task),
  };
}

/** The settings with omegaconf's references followed from `root`. */
function resolved(root: Settings, settings: Settings): Settings {
  const result: Settings = new Map();
  for (const [key, value] of settings) {
    const reference = typeof value === "string" ? /^\$\{([\w.]+)\}$/.exec(value) : null;
    const target = reference ? lookUp(root, reference[1]) : value;
    if (target !== undefined && target !== "???") result.set(key, target);
  }
  return result;
}

function familyOf(path: string, model: Settings, state: Settings): Family {
  const tensors = asSettings(state.get("model")) ?? asSettings(state.get("model_weight")) ?? new Map();
  const structural = familyByNames([...tensors.keys()]);
  if (structural) return structural;
  const name = model.get("_name") ?? model.get("arch");
  const family = typeof name === "string" && Object.hasOwn(FAMILY_OF, name) ? FAMILY_OF[name] : undefined;
  if (family) return family;
  // s3prl's converted files drop the name, but only wav2vec 2.0 has settings of a quantiser, and HuBERT of a label rate.
  if (model.has("label_rate")) return "hubert";
  if (model.has("quantize_targets")) return "wav2vec2";
  throw new UserError(
    `${path}: is a fairseq model of kind ${quote(name)}; readable are ${Object.keys(FAMILY_OF).join(", ")}`,
  );
}

/** The family where tensor names alone decide it; wav2vec 2.0 and HuBERT differ only in their heads. */
export function familyByNames(names: readonly string[]): Family | undefined {
  const some = (pattern: RegExp) => names.some((name) => pattern.test(name));
  if (some(/^feature_aggregator\./)) return "vq-wav2vec";
  if (some(/self_attn\.grep_a$/)) return "wavlm";
  if (some(/encoder\.pos_conv\.\d+\.0\.weight$/)) return "data2vec-audio";
  if (some(/label_embs_concat$/)) return "hubert";
  if (some(/quantizer\.vars$/) && some(/feature_extractor\./)) return "wav2vec2";
  if (some(/^post_extract_proj\./) && !some(/feature_extractor\./)) return "decoar2";
  return undefined;
}

const ARCHITECTURE: Partial<Record<Family, string>> = {
  wav2vec2: "Wav2Vec2",
  hubert: "Hubert",
  wavlm: "WavLM",
  "data2vec-audio": "Data2VecAudio",
  decoar2: "Decoar2",
};

/**
 * fairseq's settings as the `config.json` of the family. Dropouts and masking of a fine-tuned model are those it was
 * fine-tuned with; a pre-trained one gets Hugging Face's fine-tuning defaults for masking, since fairseq's (0.65 of all
 * frames) are those of pre-training.
 */
export function configFrom(
  path: string,
  { family, model, fineTuning }: CheckpointSettings,
  weights: TensorFile,
): Record<string, unknown> {
  if (family === "vq-wav2vec") return vqWav2VecConfigFrom(path, model);
  const number = (key: string, otherwise: number): number => {
    const value = fineTuning?.get(key) ?? model.get(key);
    return typeof value === "number" ? value : otherwise;
  };
  const own = (key: string, otherwise: number): number => {
    const value = model.get(key);
    return typeof value === "number" ? value : otherwise;
  };
  for (const [key, plain] of [
    ["layer_type", "transformer"] as const,
    ["conv_pos_batch_norm", false] as const,
  ]) {
    if ((model.get(key) ?? plain) !== plain) {
      throw new UserError(`${path}: has ${key} ${quote(model.get(key))}, which we do not build`);
    }
  }
  const hidden = own("encoder_embed_dim", 768);
  const config: Record<string, unknown> = {
    model_type: family,
    architectures: [architecture(family, weights)],
    hidden_size: hidden,
    num_hidden_layers: own("encoder_layers", 12),
    num_attention_heads: own("encoder_attention_heads", 12),
    intermediate_size: own("encoder_ffn_embed_dim", 3072),
    hidden_act: model.get("activation_fn") ?? "gelu",
    hidden_dropout: number("dropout", 0.1),
    attention_dropout: number("attention_dropout", 0.1),
    activation_dropout: number("activation_dropout", 0),
    feat_proj_dropout: number("dropout_input", 0),
    final_dropout: number("final_dropout", 0),
    layerdrop: fineTuning ? number("layerdrop", 0) : own("encoder_layerdrop", 0),
    layer_norm_eps: 1e-5,
    do_stable_layer_norm: model.get("layer_norm_first") === true,
    num_conv_pos_embeddings: own("conv_pos", 128),
    num_conv_pos_embedding_groups: own("conv_pos_groups", 16),
    pad_token_id: 0,
    bos_token_id: 1,
    eos_token_id: 2,
  };
  if (family === "decoar2") return config;
  const layers = convLayers(path, model.get("conv_feature_layers"));
  Object.assign(config, {
    feat_extract_norm: model.get("extractor_mode") === "layer_norm" ? "layer" : "group",
    feat_extract_activation: "gelu",
    num_feat_extract_layers: layers.length,
    conv_dim: layers.map(([dim]) => dim),
    conv_kernel: layers.map(([, kernel]) => kernel),
    conv_stride: layers.map(([, , stride]) => stride),
    conv_bias: model.get("conv_bias") === true,
    apply_spec_augment: fineTuning?.get("apply_mask") !== false,
  });
  if (fineTuning) {
    Object.assign(config, {
      mask_time_prob: number("mask_prob", 0.5),
      mask_time_length: number("mask_length", 10),
      mask_feature_prob: number("mask_channel_prob", 0),
      mask_feature_length: number("mask_channel_length", 10),
    });
  }
  if (family === "data2vec-audio") {
    const depth = own("pos_conv_depth", 1);
    if (depth < 2) throw new UserError(`${path}: has pos_conv_depth ${depth}; data2vec's is 5`);
    config["num_conv_pos_embeddings"] = depth;
    config["conv_pos_kernel_size"] = Math.max(3, Math.floor(own("conv_pos", 95) / depth));
    // transformers fixes these for data2vec.
    delete config["feat_extract_norm"];
    delete config["do_stable_layer_norm"];
  }
  if (family === "wavlm") {
    config["num_buckets"] = own("num_buckets", 320);
    config["max_bucket_distance"] = own("max_distance", 1280);
  }
  if (family === "wav2vec2" && weights.infos.has("quantizer.codevectors")) {
    const final = own("final_dim", 0) || hidden;
    Object.assign(config, {
      num_codevectors_per_group: own("latent_vars", 320),
      num_codevector_groups: own("latent_groups", 2),
      codevector_dim: own("latent_dim", 0) || final,
      proj_codevector_dim: final,
      contrastive_logits_temperature: own("logit_temp", 0.1),
      num_negatives: own("num_negatives", 100),
    });
  }
  const output = weights.infos.get("lm_head.weight");
  if (output) config["vocab_size"] = output.shape[0];
  return config;
}

function architecture(family: Family, weights: TensorFile): string {
  if (weights.infos.has("lm_head.weight")) return `${ARCHITECTURE[family]}ForCTC`;
  const pretraining = family === "wav2vec2" && weights.infos.has("quantizer.codevectors");
  return `${ARCHITECTURE[family]}${pretraining ? "ForPreTraining" : "Model"}`;
}

/**
 * The settings that the shapes of the weights show, for files that save none (s3prl's `.ckpt`). `notes` says what no shape
 * shows and was taken as in every released model.
 */
export function settingsFromShapes(
  path: string,
  family: Family,
  weights: TensorFile,
): { settings: CheckpointSettings; notes: string[] } {
  const prefix = PREFIXES[family];
  const shape = (name: string): number[] => {
    const info = weights.infos.get(prefix + name);
    if (!info)
      throw new UserError(`${path}: lacks ${quote(prefix + name)}, so that its sizes cannot be told`);
    return info.shape;
  };
  const has = (name: string) => weights.infos.has(prefix + name);
  const count = (stem: (i: number) => string) => {
    let i = 0;
    while (has(stem(i))) i++;
    return i;
  };
  const hidden = shape("feature_projection.projection.weight")[0];
  const model: Settings = new Map<string, Plain>([
    ["encoder_embed_dim", hidden],
    ["encoder_layers", count((i) => `encoder.layers.${i}.attention.q_proj.weight`)],
    ["encoder_ffn_embed_dim", shape("encoder.layers.0.feed_forward.intermediate_dense.weight")[0]],
  ]);
  const notes: string[] = [];
  const positions = "encoder.pos_conv_embed.";
  if (family === "data2vec-audio") {
    const depth = count((i) => `${positions}layers.${i}.conv.weight`);
    const [, channels, kernel] = shape(`${positions}layers.0.conv.weight`);
    model.set("pos_conv_depth", depth);
    model.set("conv_pos", kernel * depth);
    model.set("conv_pos_groups", hidden / channels);
  } else {
    const [, channels, kernel] = shape(`${positions}conv.parametrizations.weight.original1`);
    model.set("conv_pos", kernel);
    model.set("conv_pos_groups", hidden / channels);
  }
  if (has("encoder.layers.0.attention.rel_attn_embed.weight")) {
    const [buckets, heads] = shape("encoder.layers.0.attention.rel_attn_embed.weight");
    model.set("num_buckets", buckets);
    model.set("encoder_attention_heads", heads);
    model.set("max_distance", 800);
    notes.push("max_bucket_distance 800, as in the released WavLM models");
  } else {
    model.set("encoder_attention_heads", Math.max(1, hidden / 64));
    notes.push("attention heads of 64 dimensions, as in every released model");
  }
  if (family !== "decoar2") {
    const strides = [5, 2, 2, 2, 2, 2, 2];
    const layers = count((i) => `feature_extractor.conv_layers.${i}.conv.weight`);
    const terms = Array.from({ length: layers }, (_, i) => {
      const [dim, , kernel] = shape(`feature_extractor.conv_layers.${i}.conv.weight`);
      return `[(${dim},${kernel},${strides[i] ?? 2})]`;
    });
    const layerNorm = has("feature_extractor.conv_layers.1.layer_norm.weight");
    model.set("conv_feature_layers", terms.join("+"));
    model.set("conv_bias", has("feature_extractor.conv_layers.0.conv.bias"));
    model.set("extractor_mode", layerNorm ? "layer_norm" : "default");
    model.set("layer_norm_first", layerNorm && family !== "data2vec-audio");
    notes.push(
      "convolution strides 5, 2, 2, 2, 2, 2, 2 and pre-norm layers where every convolution has layer norm, as in the released models",
    );
  }
  return { settings: { family, model, task: new Map() }, notes };
}
