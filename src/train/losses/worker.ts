import { z } from "zod";
import { UserError } from "../../errors.ts";
import { linear, maskedMean, prelu } from "../../nn/layers.ts";
import * as ops from "../../ops/index.ts";
import { f32 } from "../../runtime/program.ts";
import { key } from "../schema-basics.ts";
import { atFrames, SPECTRA, signalAt, signalNames, signalsPerFrame } from "../signals.ts";
import type { SignalTarget } from "../targets.ts";
import { objectiveKeys } from "./keys.ts";
import { frameMean, type LossKind, padFrames, type StreamAudio } from "./kind.ts";

const schema = z.strictObject({
  loss: key(z.literal("worker"), "A signal, frame by frame, that the audio itself gives."),
  signal: key(
    z.enum(signalNames as [string, ...string[]]),
    "What is predicted, each column brought to zero mean and unit variance over the training part: the spectra `mel` (80 bands), `mfcc` (20 coefficients with two slopes), `mfcc39`; flatness and intensity in octave bands, chroma; or a descriptor of the voice.",
  ),
  distance: key(
    z.enum(["mse", "l1"]),
    "Squared or absolute difference; by default `mse` for mel and MFCC, `l1` for others.",
  ).optional(),
  layer: key(
    z.int().min(0),
    "Which hidden state it reads, 0 being the transformer's input; by default what heads read.",
  ).optional(),
  hidden: key(
    z.int().min(0),
    "Width of a dense layer with PReLU before the linear one; 0 leaves it out.",
  ).default(0),
  ...objectiveKeys,
});
type Spec = z.output<typeof schema>;

const distanceOf = ({ distance, signal }: Spec) =>
  distance ?? ((SPECTRA as readonly string[]).includes(signal) ? "mse" : "l1");

/** A worker (Pascual et al. 2019; Zaiem et al. 2022, section VI): a small network that predicts a signal from each frame. */
export const worker: LossKind<typeof schema, SignalTarget> = {
  schema,
  asTrained: true,
  metrics: () => [],
  target: ({ signal }) => ({ kind: "signal", signal, size: 0, mean: [], deviation: [] }),
  encode: () => [],
  async derive({ name, spec, target }, audio) {
    const { hop, sampleRate, signals } = audio;
    const each = signalsPerFrame(hop, sampleRate);
    const values = new Map<number, Float32Array>();
    let columns = 0;
    const what = name === spec.signal ? name : `${spec.signal} for ${name}`;
    for await (const index of audio.every(what)) {
      const signal = await signals.of(spec.signal, index);
      columns = signal.dim;
      values.set(index, atFrames(signal, audio.frames(index), each, signalAt(hop, sampleRate)));
    }
    const fitted =
      target.size > 0 ? target : { ...target, size: each * columns, ...spread(values, columns, audio) };
    const { mean, deviation } = fitted;
    for (const value of values.values())
      for (let i = 0; i < value.length; i++)
        value[i] = (value[i] - mean[i % columns]) / deviation[i % columns];
    return { target: fitted, values };
  },
  feeds: ({ name, target: { size } }, rows, { width }) => ({
    [`labels.${name}`]: f32([rows.length, width, size], padFrames(rows, width, size)),
  }),
  over: () => "frames",
  term({ name, spec, target }, pass) {
    const { frames, valid, head: p } = pass;
    const [batch, width] = valid.shape;
    const x = spec.layer === undefined ? pass.features : pass.upstream.hidden[spec.layer];
    if (x === undefined)
      throw new UserError(
        `objectives.${name}.layer: there are hidden states 0 to ${pass.upstream.hidden.length - 1}`,
      );
    const inner = spec.hidden > 0 ? prelu(linear(x, p.at("dense"), spec.hidden), p.at("prelu")) : x;
    const predicted = linear(inner, p, target.size);
    const labels = pass.input("labels", [batch, width, target.size], "f32");
    const difference = ops.sub(predicted, labels);
    const distances = distanceOf(spec) === "l1" ? ops.abs(difference) : ops.mul(difference, difference);
    const means = ops.reshape(maskedMean(ops.reduceMean(distances, [2], true), valid), [batch]);
    return {
      scores: ops.reshape(means, [batch, 1]),
      each: () => means,
      loss: () => frameMean(means, ops.cast(frames, "f32")),
    };
  },
  answer: (_, { frames }) => ({ kind: "frames", frames, sums: {} }),
  score: () => ({}),
};

/** Mean and standard deviation of each column over the training part. */
function spread(values: ReadonlyMap<number, Float32Array>, columns: number, { train }: StreamAudio) {
  const [sum, squares] = [new Float64Array(columns), new Float64Array(columns)];
  let rows = 0;
  for (const index of train) {
    const value = values.get(index)!;
    rows += value.length / columns;
    for (let i = 0; i < value.length; i++) sum[i % columns] += value[i];
  }
  const mean = Array.from(sum, (s) => s / rows);
  for (const index of train) {
    const value = values.get(index)!;
    for (let i = 0; i < value.length; i++) squares[i % columns] += (value[i] - mean[i % columns]) ** 2;
  }
  // A signal that never changes has nothing to predict; it counts as it is.
  return { mean, deviation: Array.from(squares, (s) => Math.sqrt(s / rows) || 1) };
}
