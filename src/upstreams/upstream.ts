import type { Training } from "../nn/layers.ts";
import type { Params } from "../params/params.ts";
import type { Dim } from "../tensor/dims.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { TrainingConfig } from "./config.ts";

/** What an upstream is given. */
export interface UpstreamInput {
  /** [batch, samples], mono, at the upstream's sample rate. */
  readonly audio: Tensor;
  /** Valid frames of each utterance, i32 [batch]; absent where padding is treated as signal (group-norm models). */
  readonly frames?: Tensor;
  /** Frames to hide (SpecAugment), bool [batch, frames]. */
  readonly hideFrames?: Tensor;
  /** Channels to hide, bool [batch, 1, dim]. */
  readonly hideChannels?: Tensor;
  readonly training?: Training;
  /** Declares a further graph input that the pass wants (layer drop). */
  readonly declare?: (input: Tensor) => void;
}

export interface UpstreamOutput {
  /** What the heads read: [batch, frames, dim]. */
  readonly last: Tensor;
  /**
   * Every hidden state, the transformer's input first. Of a pre-norm encoder the last one is what the final layer norm
   * is given, as transformers 5 returns it.
   */
  readonly hidden: readonly Tensor[];
  /** What the convolutional extractor gives, [batch, frames, channels]: raw, and as the projection is given it. */
  readonly extracted?: Tensor;
  readonly normalised?: Tensor;
}

/** A speech model as a function over named parameters. */
export interface Upstream {
  readonly modelType: string;
  /** The prefix of its parameters in a checkpoint with heads ("wav2vec2"). */
  readonly prefix: string;
  /** What training and heads read of its configuration, defaults filled in. */
  readonly settings: TrainingConfig;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly sampleRate: number;
  /** Samples between frames. */
  readonly hop: number;
  /** Whether padding changes what valid frames become when no mask hides it. */
  readonly padSensitive: boolean;
  /** Whether hidden frames become a learned vector, `masked_spec_embed`, rather than zeros. */
  readonly maskVector?: boolean;
  frames(samples: Dim): Dim;
  forward(input: UpstreamInput, p: Params): UpstreamOutput;
}
