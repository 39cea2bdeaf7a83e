import { type LoadedBatch, padWaves } from "../corpus/prefetch.ts";
import { hash32, random } from "../random.ts";
import { bool, f32, i32 } from "../runtime/program.ts";
import type { Stream } from "./data.ts";
import { lossOf } from "./losses/index.ts";
import type { Feeds } from "./losses/kind.ts";
import type { Model } from "./model.ts";
import { spanMask } from "./spec-augment.ts";
import { hiding, type TaskObjective } from "./task.ts";

/** The graph inputs of a batch: audio padded with zeros, frames, and the targets of some objectives. */
export function batchFeeds(
  stream: Stream,
  model: Model,
  { indices, waves }: LoadedBatch,
  objectives: readonly TaskObjective[],
): Feeds {
  const { values, batch, samples } = padWaves(waves);
  const feeds: Feeds = {
    audio: f32([batch, samples], values),
    frames: i32([batch], framesOf(model, waves)),
  };
  for (const o of objectives) {
    const rows = indices.map((i) => stream.items[i].targets[o.name]);
    Object.assign(feeds, lossOf(o.spec).feeds(o, rows));
  }
  return feeds;
}

const framesOf = ({ upstream }: Model, waves: readonly Float32Array[]): number[] =>
  waves.map((wave) => upstream.frames(wave.length) as number);

/**
 * Everything random of one training pass, as a function of its keys (seed, step, stream, micro-batch): the dropout
 * seed, what SpecAugment hides, which layers are skipped.
 */
export function randomFeeds(
  model: Model,
  waves: readonly Float32Array[],
  ...keys: (number | string)[]
): Feeds {
  const { settings: s, upstream } = model;
  const frames = framesOf(model, waves);
  const [batch, width] = [frames.length, Math.max(...frames)];
  const feeds: Feeds = { seed: i32([], [hash32(...keys) | 0]) };
  const hides = hiding(model);
  if (hides.frames) {
    const spans = { prob: s.mask_time_prob, length: s.mask_time_length, minMasks: s.mask_time_min_masks };
    const hidden = spanMask(frames, width, spans, random(...keys, "time-mask"));
    feeds["hide.frames"] = bool([batch, width], hidden);
  }
  if (hides.channels) {
    const { hiddenSize } = upstream;
    const spans = {
      prob: s.mask_feature_prob,
      length: s.mask_feature_length,
      minMasks: s.mask_feature_min_masks,
    };
    const sizes = frames.map(() => hiddenSize);
    const hidden = spanMask(sizes, hiddenSize, spans, random(...keys, "channel-mask"));
    feeds["hide.channels"] = bool([batch, 1, hiddenSize], hidden);
  }
  if (s.layerdrop > 0) {
    const chance = random(...keys, "layer-drop");
    for (let layer = 0; layer < upstream.layers; layer++) {
      // Only the shape is read: how many utterances pass through the layer.
      const kept = chance.next() < s.layerdrop ? 0 : batch;
      feeds[`keep.layers.${layer}`] = bool([kept], new Uint8Array(kept));
    }
  }
  return feeds;
}
