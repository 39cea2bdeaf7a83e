import { createHash } from "node:crypto";
import { loadUtterance, normalizeSamples } from "../corpus/load-audio.ts";
import type { Utterance } from "../corpus/manifest.ts";
import { quote, UserError } from "../errors.ts";
import { f16, type Value } from "../runtime/program.ts";
import { UtteranceHasher } from "../train/lineage.ts";
import { floatToHalf, halfTable } from "../weights/half.ts";
import { type FeatureCache, type Features, featureBytes } from "./cache.ts";
import type { FrozenUpstream, Hidden } from "./upstream.ts";

/** A recording as a task hears it. */
export interface Heard {
  readonly utterance: Utterance;
  /** Of longer recordings only so many samples, from a place that a hash of the utterance's id draws. */
  readonly maxSamples?: number;
}

/** Layer norm without weights, its epsilon PyTorch's. */
const EPSILON = 1e-5;

/** Hidden states in the form in which they are kept. A single layer is kept as it is: nothing is summed. */
export function toFeatures({ frames, layers }: Hidden): Features {
  const dim = layers[0].length / frames;
  const values = new Uint16Array(layers.length * frames * dim);
  const mean = new Float32Array(layers.length * frames);
  const scale = new Float32Array(layers.length * frames).fill(1);
  for (const [layer, states] of layers.entries()) {
    for (let frame = 0; frame < frames; frame++) {
      const [from, row] = [frame * dim, layer * frames + frame];
      if (layers.length > 1) {
        let sum = 0;
        for (let d = 0; d < dim; d++) sum += states[from + d];
        let squares = 0;
        for (let d = 0; d < dim; d++) squares += (states[from + d] - sum / dim) ** 2;
        mean[row] = sum / dim;
        scale[row] = Math.sqrt(squares / dim + EPSILON);
      }
      const [shift, factor] = [mean[row], 1 / scale[row]];
      for (let d = 0; d < dim; d++) values[row * dim + d] = floatToHalf((states[from + d] - shift) * factor);
    }
  }
  return { layers: layers.length, frames, dim, values, mean, scale };
}

/** One layer's hidden states themselves [frames, dim]. */
export function hiddenState(features: Features, layer: number): Float32Array {
  const { frames, dim, values, mean, scale } = features;
  const floats = halfTable();
  const out = new Float32Array(frames * dim);
  for (let frame = 0; frame < frames; frame++) {
    const row = layer * frames + frame;
    for (let d = 0; d < dim; d++)
      out[frame * dim + d] = floats[values[row * dim + d]] * scale[row] + mean[row];
  }
  return out;
}

/** Features of recordings: from the cache where they are there, computed (and kept, where they fit) where not. */
export class FeatureSource {
  readonly upstream: FrozenUpstream;
  /** How often the upstream ran, and how often the cache had the answer. */
  readonly counts = { computed: 0, cached: 0 };
  private readonly cache: FeatureCache | undefined;
  private readonly hasher = new UtteranceHasher();
  private readonly keys = new Map<string, string>();

  constructor(upstream: FrozenUpstream, cache: FeatureCache | undefined) {
    this.upstream = upstream;
    this.cache = cache;
  }

  /** Frames of a recording of so many seconds, for predictions. */
  framesOf({ utterance, maxSamples }: Heard): number {
    const samples = Math.round((utterance.duration ?? 0) * this.upstream.sampleRate);
    return this.upstream.frames(Math.min(samples, maxSamples ?? samples));
  }

  /** Bytes that the cache will take for these recordings, those that it has already included. */
  predictedBytes(recordings: readonly Heard[]): number {
    const { layers, dim } = this.upstream;
    const seen = new Map(recordings.map((heard) => [identity(heard), heard]));
    return [...seen.values()].reduce(
      (sum, heard) => sum + featureBytes(layers, this.framesOf(heard), dim),
      0,
    );
  }

  isCached(heard: Heard): boolean {
    return this.cache?.has(this.keyOf(heard)) ?? false;
  }

  /** @throws UserError naming the utterance that cannot be read or is too short for a frame */
  async get(heard: Heard): Promise<Features> {
    const key = this.keyOf(heard);
    const known = this.cache?.get(key);
    if (known !== undefined) {
      this.counts.cached++;
      return known;
    }
    const features = toFeatures(await this.upstream.hear(await this.wave(heard)));
    this.counts.computed++;
    this.cache?.put(key, features);
    return features;
  }

  /** Samples as the model hears them. @throws UserError as `get` does */
  async wave({ utterance, maxSamples }: Heard): Promise<Float32Array> {
    const { sampleRate, normalize, frames } = this.upstream;
    const whole = await loadUtterance(utterance, { sampleRate });
    const part = maxSamples === undefined ? whole : crop(whole, maxSamples, utterance.id);
    if (frames(part.length) < 1)
      throw new UserError(
        `utterance ${quote(utterance.id)} of ${(part.length / sampleRate).toFixed(3)} s is too short for a single frame of ${this.upstream.name}`,
      );
    return normalize ? normalizeSamples(part) : part;
  }

  private keyOf(heard: Heard): string {
    const name = identity(heard);
    let key = this.keys.get(name);
    if (key === undefined) {
      const { utterance, maxSamples = 0 } = heard;
      const parts = [
        this.hasher.of(utterance),
        this.upstream.sampleRate,
        maxSamples,
        // Where a recording is cut depends on its id.
        maxSamples > 0 ? utterance.id : "",
      ];
      key = createHash("sha256").update(JSON.stringify(parts)).digest("base64url").slice(0, 22);
      this.keys.set(name, key);
    }
    return key;
  }
}

const identity = ({ utterance: { id, audio, start, end }, maxSamples }: Heard) =>
  JSON.stringify([id, audio, start, end, maxSamples]);

function crop(wave: Float32Array, samples: number, id: string): Float32Array {
  if (wave.length <= samples) return wave;
  const word = createHash("sha256").update(id).digest().readUInt32LE();
  const start = Math.floor((word / 2 ** 32) * (wave.length - samples + 1));
  return wave.subarray(start, start + samples);
}

/** A batch of features as graph inputs: `features` [layers, batch, frames, dim] in halves, zero where padded, and `frames` i32 [batch]. */
export function batchOf(all: readonly Features[]): { features: Value; frames: number[] } {
  const { layers, dim } = all[0];
  const frames = all.map((each) => each.frames);
  const longest = Math.max(...frames);
  const values = new Uint16Array(layers * all.length * longest * dim);
  for (const [row, { frames, values: halves }] of all.entries()) {
    const size = frames * dim;
    for (let layer = 0; layer < layers; layer++) {
      const to = (layer * all.length + row) * longest * dim;
      values.set(halves.subarray(layer * size, (layer + 1) * size), to);
    }
  }
  return { features: f16([layers, all.length, longest, dim], values), frames };
}
