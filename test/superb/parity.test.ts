import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { sequenceBeam } from "../../src/decode/sequence-beam.ts";
import { validFrames } from "../../src/nn/layers.ts";
import { additiveMargin, permutationInvariant, permutations } from "../../src/nn/losses.ts";
import {
  decode,
  encode,
  encodedFrames,
  hidden,
  sinusoids,
  smoothedCrossEntropy,
} from "../../src/nn/translation.ts";
import { lostFrames, statisticsPooling, tdnn } from "../../src/nn/xvector.ts";
import * as ops from "../../src/ops/index.ts";
import { ParameterTable } from "../../src/params/params.ts";
import { random } from "../../src/random.ts";
import { compile } from "../../src/runtime/cpu.ts";
import { f32, i32, type Value } from "../../src/runtime/program.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { masks, stretch, timeWarp } from "../../src/train/feature-augment.ts";

// What PyTorch computes; scripts/reference/superb-values.py wrote it.
interface Array1 {
  shape: number[];
  data: number[];
}
const reference = JSON.parse(
  readFileSync(join(import.meta.dirname, "../fixtures/reference/superb.json"), "utf8"),
);
const value = ({ shape, data }: Array1): Value => f32(shape, Float32Array.from(data));

function close(got: ArrayLike<number>, { data }: Array1, tolerance = 2e-5): void {
  const scale = Math.max(1e-3, ...data.map(Math.abs));
  expect(got.length).toBe(data.length);
  for (const [i, wanted] of data.entries())
    if (!(Math.abs(got[i] - wanted) <= tolerance * scale))
      expect.fail(`${i}: ${got[i]} instead of ${wanted}`);
}

/** Runs a graph: outputs, and gradients of the sum of `loss` for the named inputs. */
async function run(
  inputs: Record<string, Value>,
  build: (
    given: Record<string, Tensor>,
    table: ParameterTable,
  ) => { outputs: Record<string, Tensor>; loss: Tensor },
  parameters: Record<string, Value> = {},
) {
  const given = Object.fromEntries(
    Object.entries(inputs).map(([name, { shape, dtype }]) => [name, ops.input(name, shape, dtype)]),
  );
  const table = new ParameterTable();
  const { outputs, loss } = build(given, table);
  expect([...table.specs.keys()].sort()).toEqual(Object.keys(parameters).sort());
  const all = { ...given, ...Object.fromEntries(table.inputs) };
  const names = Object.keys(all).filter((name) => all[name].dtype === "f32");
  const { wrt } = ops.gradients(
    loss,
    names.map((name) => all[name]),
  );
  const gradients = names.flatMap((name, i) => {
    const tensor = wrt[i];
    return tensor === undefined ? [] : [{ name: `d.${name}`, tensor }];
  });
  const program = await compile({
    inputs: Object.entries(all).map(([name, tensor]) => ({ name, tensor })),
    outputs: [...Object.entries(outputs).map(([name, tensor]) => ({ name, tensor })), ...gradients],
    late: [],
  });
  const results = await program.run({ ...inputs, ...parameters });
  await program.dispose();
  return (name: string) => results[name].data as Float32Array;
}
const sum = (x: Tensor) => ops.sumAll(x);

describe("SpecAugment", () => {
  test("stretches as PyTorch interpolates bicubically", () => {
    for (const { to, x, y } of reference.warp as { to: number; x: Array1; y: Array1 }[]) {
      const [from, dim] = x.shape;
      const matrix = stretch(from, to);
      const out = Float64Array.from({ length: to * dim }, (_, k) => {
        let total = 0;
        for (let i = 0; i < from; i++)
          total += matrix[Math.floor(k / dim) * from + i] * x.data[i * dim + (k % dim)];
        return total;
      });
      close(out, y, 1e-6);
    }
  });

  test("a warp keeps what is constant, moves at most the window, leaves padding and short utterances alone", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 0, max: 9 }),
        fc.nat(),
        (frames, window, seed) => {
          const width = frames + 3;
          const matrix = timeWarp(frames, width, window, random(seed));
          for (let t = 0; t < width; t++) {
            const row = matrix.subarray(t * width, (t + 1) * width);
            expect(row.reduce((a, b) => a + b, 0)).toBeCloseTo(t < frames ? 1 : 0, 5);
            const seen = [...row.keys()].filter((i) => Math.abs(row[i]) > 1e-6);
            for (const i of seen) expect(Math.abs(i - t)).toBeLessThanOrEqual(window + 2);
            if (frames <= 2 * window || window === 0) expect(seen).toEqual(t < frames ? [t] : []);
          }
        },
      ),
    );
  });

  test("masks are narrower than their limit, and there are no more than asked for", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 0, max: 4 }),
        fc.integer({ min: 1, max: 20 }),
        fc.nat(),
        (size, count, limit, seed) => {
          const kept = masks(3, size, count, limit, random(seed));
          for (let row = 0; row < 3; row++) {
            const hiddenCount = kept.subarray(row * size, (row + 1) * size).filter((x) => x === 0).length;
            expect(hiddenCount).toBeLessThanOrEqual(Math.min(size, count * (limit - 1)));
          }
        },
      ),
    );
  });
});

describe("parity with PyTorch", () => {
  test("x-vector: time-delay layers, mean and deviation over valid frames", async () => {
    const { layers, counts, x, weights, biases, pooled, factors, dx, dweight } = reference.xvector;
    const stack = (layers as number[][]).map(([width, context, dilation]) => ({ width, context, dilation }));
    expect(lostFrames(stack)).toBe(8);
    const parameters = Object.fromEntries(
      (weights as Array1[]).flatMap((weight, i) => [
        [`m.${i}.kernel.weight`, value(weight)],
        [`m.${i}.kernel.bias`, value(biases[i])],
      ]),
    );
    const get = await run(
      { x: value(x), counts: i32([2], counts) },
      (given, table) => {
        const out = statisticsPooling(tdnn(given.x, stack, table.at("m")), given.counts);
        return { outputs: { out }, loss: sum(ops.mul(out, ops.constant(factors.shape, factors.data))) };
      },
      parameters,
    );
    close(get("out"), pooled);
    close(get("d.x"), dx);
    close(get("d.m.0.kernel.weight"), dweight);
  });

  test("a channel that does not move has no deviation, and a slope of 0", async () => {
    const get = await run(
      { x: f32([1, 3, 1], new Float32Array(3).fill(2)), counts: i32([1], [3]) },
      (given) => {
        const out = statisticsPooling(given.x, given.counts);
        return { outputs: { out }, loss: sum(ops.slice(out, 1, 1, 2)) };
      },
    );
    expect(get("out")[0]).toBe(2);
    expect(get("out")[1]).toBeLessThan(2e-6);
    expect([...get("d.x")]).toEqual([0, 0, 0]);
  });

  test("additive-margin softmax", async () => {
    const { x, w, labels, loss, dx, dw } = reference.margin;
    const get = await run({ x: value(x), w: value(w), labels: i32([4], labels) }, (given) => {
      const out = additiveMargin(given.x, given.w, given.labels, { scale: 30, margin: 0.4 });
      return { outputs: { out }, loss: sum(out) };
    });
    close(get("out"), loss);
    close(get("d.x"), dx);
    close(get("d.w"), dw);
  });

  test("permutation-invariant loss of two and three speakers", async () => {
    expect(
      permutations(3)
        .map((order) => order.join(""))
        .sort(),
    ).toEqual(["012", "021", "102", "120", "201", "210"]);
    for (const { x, y, lengths, loss, dx } of reference.permutation) {
      const get = await run({ x: value(x), y: value(y), lengths: i32([3], lengths) }, (given) => {
        const out = permutationInvariant(given.x, given.y, validFrames(given.lengths, 6));
        return { outputs: { out }, loss: sum(out) };
      });
      close(get("out"), loss);
      close(get("d.x"), dx);
    }
  });

  test("smoothed cross-entropy", async () => {
    const { x, labels, lengths, loss, dx } = reference.smoothed;
    const given = { x: value(x), labels: i32([2, 4], labels), lengths: i32([2], lengths) };
    const get = await run(given, (t) => {
      const out = smoothedCrossEntropy(t.x, t.labels, t.lengths, 0.1);
      return { outputs: { out }, loss: sum(out) };
    });
    close(get("out"), loss);
    close(get("d.x"), dx);
  });

  test("the translation transformer, forward and backward, padding hidden", async () => {
    const { config, frames, states, x, previous, encoded, logits, factors, parameters } =
      reference.transformer;
    expect(frames.map((count: number) => encodedFrames(count, config.convKernel))).toEqual(states);
    const width = Math.max(...states);
    const all = parameters as Record<string, { value: Array1; grad: Array1 }>;
    const get = await run(
      {
        x: value(x),
        counts: i32([2], states),
        places: f32([width, config.dim], sinusoids(width, config.dim, 2)),
        previous: i32([2, 4], previous),
        textPlaces: f32([4, config.dim], sinusoids(4, config.dim, 2)),
      },
      (given, table) => {
        const heard = encode(given.x, given.counts, given.places, config, table.at("encoder"));
        const hide = hidden(given.counts, width);
        const out = decode(given.previous, heard, hide, given.textPlaces, config, table.at("decoder")).logits;
        return {
          outputs: { heard, out },
          loss: sum(ops.mul(out, ops.constant(factors.shape, factors.data))),
        };
      },
      Object.fromEntries(Object.entries(all).map(([name, each]) => [name, value(each.value)])),
    );
    const size = width * config.dim;
    close(get("heard").subarray(0, size), { shape: [], data: encoded.data.slice(0, size) });
    const valid = states[1] * config.dim;
    close(get("heard").subarray(size, size + valid), {
      shape: [],
      data: encoded.data.slice(size, size + valid),
    });
    // Symbols behind the second text's end see padding that counts nowhere.
    close(get("out").subarray(0, 6 * 7), { shape: [], data: logits.data.slice(0, 6 * 7) });
    for (const [name, { grad }] of Object.entries(all)) close(get(`d.${name}`), grad, 1e-4);
  });
});

describe("beam search over sequences", () => {
  /** A model by a table: log-probabilities by the symbols written so far. */
  const model = (seed: number, vocabulary: number) => (prefix: readonly number[]) => {
    const chance = random(seed, ...prefix);
    const raw = Array.from({ length: vocabulary }, () => 2 * chance.normal());
    const total = Math.log(raw.reduce((all, x) => all + Math.exp(x), 0));
    return raw.map((x) => x - total);
  };

  test("with a beam as wide as everything it finds the best sequence of all", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.integer({ min: 1, max: 4 }), async (seed, longest) => {
        const [vocabulary, end] = [3, 2];
        const logs = model(seed, vocabulary);
        let best = { score: Number.NEGATIVE_INFINITY, tokens: [] as number[] };
        const visit = (prefix: number[], score: number) => {
          const next = logs(prefix);
          const total = (score + next[end]) / (prefix.length + 1);
          if (total > best.score) best = { score: total, tokens: prefix };
          if (prefix.length + 1 < longest)
            for (const token of [0, 1]) visit([...prefix, token], score + next[token]);
        };
        visit([], 0);
        let prefixes: number[][] = [[]];
        const found = await sequenceBeam({
          ...{ start: end, end, width: 64, longest },
          step(newest, parents) {
            prefixes =
              prefixes.length === 1 && newest[0] === end
                ? [[]]
                : newest.map((token, i) => [...prefixes[parents[i]], token]);
            return Float32Array.from(prefixes.flatMap(logs));
          },
        });
        expect(found.tokens).toEqual(best.tokens);
        expect(found.score).toBeCloseTo(best.score, 4);
      }),
      { numRuns: 40 },
    );
  });

  test("never writes what is forbidden, and ends at the longest", async () => {
    const found = await sequenceBeam({
      ...{ start: 0, end: 3, width: 2, longest: 4, forbidden: [0] },
      step: (newest) => Float32Array.from(newest.flatMap(() => [-0.01, -2, -3, -9])),
    });
    expect(found.tokens).toEqual([1, 1, 1]);
    expect(found.score).toBeCloseTo(-(2 + 2 + 2 + 9) / 4, 6);
  });
});
