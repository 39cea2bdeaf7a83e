import { LabelVocabulary, Vocabulary, type VocabularySettings } from "../corpus/vocab.ts";
import type { Json } from "./checkpoint.ts";
import type { Centroids } from "./k-means.ts";

/**
 * What an objective asks of an utterance: symbols, one class, one number; of each frame a signal's values or a cluster; or
 * nothing.
 */
export type Target =
  | SequenceTarget
  | ClassTarget
  | NumberTarget
  | FrameClassTarget
  | SignalTarget
  | ClusterTarget
  | CodeTarget
  | NoTarget;
export interface SequenceTarget {
  readonly kind: "sequence";
  readonly vocabulary: Vocabulary;
}
export interface ClassTarget {
  readonly kind: "class";
  readonly labels: LabelVocabulary;
}
/** One class a frame. */
export interface FrameClassTarget {
  readonly kind: "frame-class";
  readonly labels: LabelVocabulary;
  readonly dropStress: boolean;
}
export interface NumberTarget {
  readonly kind: "number";
  readonly label: string;
}

export interface SignalTarget {
  readonly kind: "signal";
  readonly signal: string;
  /** Values a frame of the model; 0 until they are fitted. */
  readonly size: number;
  /** Of each column over the training part. */
  readonly mean: readonly number[];
  readonly deviation: readonly number[];
}
export interface ClusterTarget {
  readonly kind: "clusters";
  readonly count: number;
  /** Width of the codebook that the labels are of. */
  readonly size?: number;
  /** Absent until they are fitted, and where the labels are a model's own codes. */
  readonly centroids?: Centroids;
}
/** The model's own codebook: entries of each group, and how many others each frame is told from. */
export interface CodeTarget {
  readonly kind: "codes";
  readonly groups: number;
  readonly entries: number;
  readonly negatives: number;
}
export interface NoTarget {
  readonly kind: "none";
}

/** Targets as plain data, kept in a run's folder so that `eval` needs no training data. */
export function targetToJson(target: Target): Json {
  switch (target.kind) {
    case "sequence":
      return {
        kind: "sequence",
        symbols: [...target.vocabulary.symbols],
        options: JSON.parse(JSON.stringify(target.vocabulary.options)),
      };
    case "class":
      return { kind: "class", label: target.labels.label, classes: [...target.labels.classes] };
    case "number":
      return { kind: "number", label: target.label };
    case "signal":
      return { ...target, mean: [...target.mean], deviation: [...target.deviation] };
    case "clusters": {
      const { count, size, centroids } = target;
      if (centroids === undefined)
        return { kind: "clusters", count, ...(size === undefined ? {} : { size }) };
      const { data, dim } = centroids;
      const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
      return { kind: "clusters", count, dim, centroids: bytes.toString("base64") };
    }
    case "codes":
    case "none":
      return { ...target };
    case "frame-class":
      return { kind: "frame-class", classes: [...target.labels.classes], dropStress: target.dropStress };
  }
}

type TargetJson =
  | { kind: "sequence"; symbols: string[]; options: VocabularySettings }
  | { kind: "class"; label: string; classes: string[] }
  | { kind: "number"; label: string }
  | SignalTarget
  | { kind: "clusters"; count: number; size?: number; dim?: number; centroids?: string }
  | CodeTarget
  | NoTarget
  | { kind: "frame-class"; classes: string[]; dropStress: boolean };

export function targetFromJson(json: Json): Target {
  const data = json as unknown as TargetJson;
  if (data.kind === "sequence")
    return { kind: "sequence", vocabulary: new Vocabulary(data.symbols, data.options) };
  if (data.kind === "class") return { kind: "class", labels: new LabelVocabulary(data.label, data.classes) };
  if (data.kind === "frame-class")
    return {
      kind: "frame-class",
      labels: new LabelVocabulary("phones", data.classes),
      dropStress: data.dropStress,
    };
  if (data.kind !== "clusters") return data;
  const { count, size, dim, centroids } = data;
  if (dim === undefined || centroids === undefined)
    return { kind: "clusters", count, ...(size === undefined ? {} : { size }) };
  // A copy of its own: a buffer's bytes need not lie where floats may.
  const bytes = Uint8Array.from(Buffer.from(centroids, "base64"));
  return {
    kind: "clusters",
    count,
    centroids: { data: new Float32Array(bytes.buffer), clusters: count, dim },
  };
}
