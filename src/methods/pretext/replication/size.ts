import { type CandidateName, plusCandidates, speechCandidates } from "../candidates.ts";

/** How large a replication is. */
export interface Size {
  readonly seeds: readonly number[];
  /** One model for each of these labels (Fig. 2), with the first seed. */
  readonly single: readonly CandidateName[];
  /** Speech to pre-train on: minutes at most, of utterances of at most so many seconds. */
  readonly minutes: number;
  readonly maxSeconds: number;
  /** Utterances that validate pre-training. */
  readonly valid: number;
  /** Units of a class that the selection looks at, by task. */
  readonly perClass: Readonly<Record<Task, number>>;
  readonly encoders: Readonly<Record<Family, Encoder>>;
  /** Updates of the probes' heads; their own where undefined. */
  readonly probeSteps?: number;
  /** Utterances of each speaker that probes hear: the shortest. */
  readonly probeEach: number;
  /** Seconds that a piece of work takes on two quiet cores, for a plan before the first has been measured. */
  readonly seconds: Readonly<Record<string, number>>;
}

/** What models are pre-trained for and judged on: words, voices and what is known of the person. */
export const TASKS = ["phonemes", "speakers", "age"] as const;
export type Task = (typeof TASKS)[number];

export const FAMILIES = ["pase", "wav2vec2"] as const;
export type Family = (typeof FAMILIES)[number];

export interface Encoder {
  readonly config: Readonly<Record<string, unknown>>;
  readonly steps: number;
  readonly batch: number;
}

/** The paper's encoder at about a tenth of its width, and two LSTM layers instead of five: time goes into updates. */
const PASE = {
  model_type: "pase",
  ...{ cnn_channels: [12, 20, 26], rnn_layers: 2, rnn_neurons: 32, dnn_neurons: [32, 32] },
};

const WAV2VEC2 = {
  model_type: "wav2vec2",
  ...{ hidden_size: 64, num_hidden_layers: 3, num_attention_heads: 4, intermediate_size: 192 },
  ...{ conv_dim: [24, 48, 64, 64], conv_stride: [10, 4, 4, 2], conv_kernel: [20, 8, 8, 4] },
  ...{ num_feat_extract_layers: 4, num_conv_pos_embeddings: 16, num_conv_pos_embedding_groups: 4 },
  ...{ feat_extract_norm: "layer", do_stable_layer_norm: true, conv_bias: true, initializer_range: 0.05 },
  ...{ hidden_dropout: 0.05, attention_dropout: 0.05, activation_dropout: 0, feat_proj_dropout: 0 },
  ...{ final_dropout: 0, layerdrop: 0, mask_time_prob: 0.65, mask_time_length: 10, mask_feature_prob: 0 },
  ...{ num_codevector_groups: 2, num_codevectors_per_group: 40, codevector_dim: 32, proj_codevector_dim: 32 },
  num_negatives: 50,
};

export const FULL: Size = {
  seeds: [1, 2, 3],
  single: [...speechCandidates, ...plusCandidates],
  ...{ minutes: 20, maxSeconds: 4, valid: 24 },
  perClass: { phonemes: 60, speakers: 10, age: 90 },
  probeEach: 8,
  encoders: {
    pase: { config: PASE, steps: 400, batch: 4 },
    wav2vec2: { config: WAV2VEC2, steps: 120, batch: 12 },
  },
  // What the kept run's pieces took, one thread each, beside a second job on two cores: medians, and means over probes' kinds.
  seconds: {
    select: 80,
    "pre-train pase": 147,
    "pre-train wav2vec2": 39,
    probe: 44,
    "probe on 3 tasks": 93,
  },
};

export const SMALLEST: Size = {
  seeds: [1],
  single: speechCandidates.slice(0, 3),
  ...{ minutes: 0.4, maxSeconds: 3, valid: 2 },
  perClass: { phonemes: 5, speakers: 5, age: 6 },
  encoders: {
    pase: {
      config: { ...PASE, cnn_channels: [3], rnn_layers: 1, rnn_neurons: 4, dnn_neurons: [8] },
      ...{ steps: 2, batch: 4 },
    },
    wav2vec2: {
      config: {
        ...WAV2VEC2,
        ...{ hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16 },
        ...{ conv_dim: [8, 16], conv_stride: [20, 16], conv_kernel: [40, 32], num_feat_extract_layers: 2 },
        ...{ num_codevectors_per_group: 4, codevector_dim: 8, proj_codevector_dim: 8, num_negatives: 5 },
      },
      ...{ steps: 2, batch: 4 },
    },
  },
  probeSteps: 2,
  probeEach: 6,
  seconds: {},
};
