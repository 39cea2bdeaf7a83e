import { type LoadedBatch, padWaves } from "../corpus/prefetch.ts";
import { hash32, type Random, random } from "../random.ts";
import { bool, f32, i32 } from "../runtime/program.ts";
import type { Stream } from "./data.ts";
import { augmentFeeds } from "./feature-augment.ts";
import { lossOf } from "./losses/index.ts";
import type { BatchFacts, Feeds, FrameTimes } from "./losses/kind.ts";
import { type Frames, headFrames, headHop, type Model } from "./model.ts";
import { spanMask } from "./spec-augment.ts";
import { hiding, type Task, type TaskObjective } from "./task.ts";

/**
 * The graph inputs of a batch: audio padded with zeros, frames, and the targets of some objectives. `drawn` are those of
 * `randomFeeds` or `heldMaskFeeds`, whose hidden frames some losses are about.
 */
export function batchFeeds(
  stream: Stream,
  model: Model,
  { indices, waves }: LoadedBatch,
  objectives: readonly TaskObjective[],
  drawn: Feeds,
  { step, draw }: Pick<BatchFacts, "step" | "draw">,
): Feeds {
  const { values, batch, samples } = padWaves(waves);
  const frames = framesOf(model, waves);
  const feeds: Feeds = { ...drawn, audio: f32([batch, samples], values), frames: i32([batch], frames) };
  const hidden = drawn["hide.frames"]?.data as Uint8Array | undefined;
  const times = waves.map((wave, row) => frameTimes(model, wave.length, stream.items[indices[row]].samples));
  const heard = times.map((each) => each.frames);
  const facts: BatchFacts = { frames: heard, width: Math.max(...heard), times, hidden, step, draw };
  for (const o of objectives) {
    const rows = indices.map((i) => stream.items[i].targets[o.name]);
    Object.assign(feeds, lossOf(o.spec).feeds(o, rows, facts));
  }
  return feeds;
}

/** How many of what an objective's loss is a mean over a batch holds; undefined where losses are added. */
export function countOf({ spec }: TaskObjective, feeds: Feeds): number | undefined {
  const frames = feeds.frames.data as Int32Array;
  switch (lossOf(spec).over(spec)) {
    case "sum":
      return undefined;
    case "utterances":
      return frames.length;
    case "frames":
      return frames.reduce((a, b) => a + b, 0);
    case "masked":
      return (feeds["hide.frames"].data as Uint8Array).reduce((a, b) => a + b, 0);
  }
}

const receptiveFields = new WeakMap<Frames, number>();

/** Samples that one frame hears: the least that make one. */
function receptiveField(model: Frames): number {
  let samples = receptiveFields.get(model);
  if (samples === undefined) {
    samples = 1;
    while ((headFrames(model, samples) as number) < 1) samples++;
    receptiveFields.set(model, samples);
  }
  return samples;
}

/**
 * Where the heads' frames lie in an utterance of so many samples.
 * @param recorded its samples before it was played faster or slower: times are those of the recording
 */
export function frameTimes(model: Frames, samples: number, recorded = samples): FrameTimes {
  const hop = headHop(model);
  const seconds = recorded / samples / model.upstream.sampleRate;
  const first = receptiveField(model) / 2;
  return {
    frames: headFrames(model, samples) as number,
    middle: (frame) => (first + frame * hop) * seconds,
  };
}

const framesOf = ({ upstream }: Model, waves: readonly Float32Array[]): number[] =>
  waves.map((wave) => upstream.frames(wave.length) as number);

/** What the heads' features are warped and masked with, where the recipe says so. */
export function featureFeeds(
  { model, augment }: Task,
  waves: readonly Float32Array[],
  ...keys: (number | string)[]
): Feeds {
  if (augment === undefined) return {};
  const frames = framesOf(model, waves);
  const chance = random(...keys, "feature-augment");
  return augmentFeeds(augment, frames, Math.max(...frames), model.upstream.hiddenSize, chance);
}

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
  const batch = frames.length;
  const feeds: Feeds = { seed: i32([], [hash32(...keys) | 0]), ...maskFeeds(model, waves, ...keys) };
  const hides = hiding(model);
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

const timeSpans = ({ settings: s }: Model) => ({
  prob: s.mask_time_prob,
  length: s.mask_time_length,
  minMasks: s.mask_time_min_masks,
});

/** The spans of frames that are hidden from the model in training, as a function of the keys. */
function maskFeeds(model: Model, waves: readonly Float32Array[], ...keys: (number | string)[]): Feeds {
  if (!hiding(model).frames) return {};
  const frames = framesOf(model, waves);
  const width = Math.max(...frames);
  const hidden = spanMask(frames, width, timeSpans(model), random(...keys, "time-mask"));
  return { "hide.frames": bool([frames.length, width], hidden) };
}

/**
 * The frames that are hidden in evaluation, drawn for each utterance by itself: whoever shares its batch and whichever
 * utterances there are besides, it is judged on the same ones.
 */
export function heldMaskFeeds(
  model: Model,
  waves: readonly Float32Array[],
  draw: (row: number, ...purpose: string[]) => Random,
): Feeds {
  if (!hiding(model).frames) return {};
  const frames = framesOf(model, waves);
  const width = Math.max(...frames);
  const hidden = new Uint8Array(frames.length * width);
  for (const [row, own] of frames.entries())
    hidden.set(spanMask([own], own, timeSpans(model), draw(row, "time-mask")), row * width);
  return { "hide.frames": bool([frames.length, width], hidden) };
}
