import { UserError } from "../errors.ts";
import { random } from "../random.ts";
import { assign, type Centroids, kMeans } from "./k-means.ts";
import type { StreamAudio } from "./losses/kind.ts";
import type { ClusterSpec } from "./losses/masked-prediction.ts";
import { progress } from "./progress.ts";
import { atFrames, signalAt } from "./signals.ts";
import type { ClusterTarget } from "./targets.ts";

type Derived = { target: ClusterTarget; values: Map<number, Float32Array> };

/**
 * The cluster of every frame of a stream: clusters are fitted to the training part unless the target has them already.
 * A function of audio, specification and seed alone, so that a resumed run finds the same.
 * @throws UserError where the specification names no model, or one without what is asked of it
 */
export async function deriveClusters(
  name: string,
  spec: ClusterSpec,
  target: ClusterTarget,
  audio: StreamAudio,
): Promise<Derived> {
  const model = spec.model ?? audio.model;
  const needed = (): string => {
    if (model !== undefined) return model;
    throw new UserError(`objectives.${name}.clusters.model: is missing; ${spec.of} needs a model`);
  };
  if (spec.of === "codebook") return nearestCodes(name, needed(), target, audio);
  const features =
    spec.of === "mfcc" ? mfccFrames(audio, name) : hiddenFrames(audio, name, needed(), spec.layer);
  const values = new Map<number, Float32Array>();
  let dim = 0;
  for await (const { index, data, columns } of features) {
    values.set(index, data);
    dim = columns;
  }
  const centroids = target.centroids ?? (await clustersOf(name, values, dim, spec, audio));
  for (const [index, data] of values) values.set(index, Float32Array.from(assign(data, centroids).labels));
  return { target: { ...target, count: centroids.clusters, centroids }, values };
}

async function clustersOf(
  name: string,
  values: ReadonlyMap<number, Float32Array>,
  dim: number,
  { count, points, seed }: Exclude<ClusterSpec, { of: "codebook" }>,
  audio: StreamAudio,
): Promise<Centroids> {
  const rows = audio.train.flatMap((index) =>
    Array.from({ length: values.get(index)!.length / dim }, (_, row) => [index, row] as const),
  );
  const chosen = rows.length <= points ? rows : random(seed, "cluster points").shuffle(rows).slice(0, points);
  const data = new Float32Array(chosen.length * dim);
  for (const [to, [index, row]] of chosen.entries())
    data.set(values.get(index)!.subarray(row * dim, (row + 1) * dim), to * dim);
  audio.log(`${name}: ${count} clusters of ${chosen.length} frames`);
  let shown: ReturnType<typeof progress> | undefined;
  const onPart = (done: number, total: number) => {
    shown ??= progress({ label: `clusters for ${name}`, total });
    shown.update(done);
  };
  return kMeans(data, dim, { clusters: count, seed, onPart }).finally(() => shown?.end());
}

interface Frames {
  index: number;
  data: Float32Array;
  columns: number;
}

async function* mfccFrames(audio: StreamAudio, name: string): AsyncGenerator<Frames> {
  const from = signalAt(audio.hop, audio.sampleRate);
  for await (const index of audio.every(`mfcc for ${name}`)) {
    const signal = await audio.signals.of("mfcc39", index);
    yield { index, data: atFrames(signal, audio.frames(index), 1, from), columns: signal.dim };
  }
}

async function* hiddenFrames(
  audio: StreamAudio,
  name: string,
  model: string,
  layer: number | undefined,
): AsyncGenerator<Frames> {
  // Loaded here: it opens whole models, whose tasks know the losses.
  const { openListener } = await import("./listener.ts");
  const listener = await openListener(model, layer);
  try {
    for await (const index of audio.every(`hidden states for ${name}`)) {
      const { data, columns } = await listener.hidden(await audio.wave(index));
      yield { index, data: fitted(data, columns, audio.frames(index)), columns };
    }
  } finally {
    await listener.close();
  }
}

async function nearestCodes(
  name: string,
  model: string,
  target: ClusterTarget,
  audio: StreamAudio,
): Promise<Derived> {
  const { openListener } = await import("./listener.ts");
  const listener = await openListener(model, "codebook");
  try {
    const values = new Map<number, Float32Array>();
    for await (const index of audio.every(`codes for ${name}`)) {
      const { data } = await listener.hidden(await audio.wave(index));
      values.set(index, fitted(data, 1, audio.frames(index)));
    }
    return { target: { ...target, count: listener.codes, size: listener.codeSize }, values };
  } finally {
    await listener.close();
  }
}

/** Rows brought to the frames of another model with the same rate: the last one is repeated, or what is over is left out. */
function fitted(data: Float32Array, columns: number, frames: number): Float32Array {
  const rows = data.length / columns;
  if (rows === frames) return data;
  if (Math.abs(rows - frames) > 2)
    throw new UserError(
      `the model that gives the labels makes ${rows} frames where the one that is trained makes ${frames}; both need the same rate`,
    );
  const out = new Float32Array(frames * columns);
  for (let t = 0; t < frames; t++) {
    const from = Math.min(t, rows - 1);
    out.set(data.subarray(from * columns, (from + 1) * columns), t * columns);
  }
  return out;
}
