import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MagnitudeSelection } from "../../src/merge/kernels.ts";
import { METHODS, type MergeSpec } from "../../src/merge/spec.ts";
import { mergeInMemory, type Tensors, tensorsOf } from "./models.ts";

const row = (values: number[]): Tensors => ({
  x: { shape: [values.length], data: Float32Array.from(values) },
});
const bits = (values: Record<string, Float32Array>) =>
  Object.fromEntries(
    Object.entries(values).map(([name, x]) => [name, [...new Uint32Array(x.buffer, x.byteOffset, x.length)]]),
  );
const bitsOf = (tensors: Tensors) =>
  bits(Object.fromEntries(Object.entries(tensors).map(([name, { data }]) => [name, data.slice()])));

describe("TIES as its reference code does it", () => {
  const tau1 = [0.5, -0.1, 0.3, 0, -0.6, 0.2, 0.05, -0.4, 0.9, -0.02];
  const tau2 = [0.4, 0.2, -0.8, 0.1, 0.1, -0.3, 0.07, -0.5, -0.1, 0.6];
  const zeros = row(Array(10).fill(0));
  const ties = (density: number) =>
    [...mergeInMemory(zeros, [row(tau1), row(tau2)], { method: "ties", alpha: 1, density }).x].map(
      (x) => Math.round(x * 1e6) / 1e6 + 0,
    );

  it("keeps 20 %, that is 3 of 10: entries at the threshold stay", () => {
    expect(ties(0.2)).toEqual([0.5, 0, -0.8, 0, -0.6, 0, 0, -0.5, 0.9, 0.6]);
  });

  it("keeps 50 %", () => {
    expect(ties(0.5)).toEqual([0.45, 0.2, -0.8, 0, -0.6, -0.3, 0, -0.45, 0.9, 0.6]);
  });

  it("gives votes that cancel the sign of the majority of the whole model", () => {
    const both = (majority: number) =>
      [
        ...mergeInMemory(row([0, 0, 0]), [row([0.5, majority, majority]), row([-0.25 - 0.25, majority, 0])], {
          method: "ties",
          alpha: 1,
          density: 1,
        }).x,
      ][0];
    expect([both(1), both(-1)]).toEqual([0.5, -0.5]);
  });
});

describe("methods against PyTorch", () => {
  const fixture = join(import.meta.dirname, "../fixtures/reference/merge.json");
  const { shapes, base, tuned, cases } = JSON.parse(readFileSync(fixture, "utf8"));
  for (const { given, tuned: chosen, expected } of cases as {
    given: Partial<MergeSpec> & { method: MergeSpec["method"] };
    tuned: number[];
    expected: Record<string, number[]>;
  }[])
    it(`${Object.entries(given).map(([k, v]) => `${k} ${v}`)} of models ${chosen}`, () => {
      const merged = mergeInMemory(
        tensorsOf(base, shapes),
        chosen.map((i) => tensorsOf(tuned[i], shapes)),
        given,
      );
      // PyTorch rounds each step to float32, we once.
      for (const [name, values] of Object.entries(expected))
        for (const [i, value] of values.entries())
          expect(Math.abs(merged[name][i] - value), `${name}[${i}]`).toBeLessThan(1e-6);
    });
});

describe("laws of merging", () => {
  // Every float32 that is finite and far enough from overflow, -0 and subnormals among them.
  const value = fc.oneof(
    fc.float({ noNaN: true, min: -(2 ** 100), max: 2 ** 100 }),
    fc.constant(-0),
    fc.constant(2 ** -140),
  );
  const sizes = { "encoder.a": [3, 4], "encoder.b": [5] };
  const model = fc
    .tuple(fc.array(value, { minLength: 12, maxLength: 12 }), fc.array(value, { minLength: 5, maxLength: 5 }))
    .map(([a, b]) => tensorsOf({ "encoder.a": a, "encoder.b": b }, sizes));
  const alphas = fc.double({ min: 0, max: 1, noNaN: true });
  const runs = { numRuns: 25 };

  it("alpha 0 is the base and alpha 1 the tuned model, bit for bit", () => {
    fc.assert(
      fc.property(model, model, (base, tuned) => {
        for (const method of METHODS)
          expect(bits(mergeInMemory(base, [tuned], { method, alpha: 0 })), method).toEqual(bitsOf(base));
        for (const method of ["interpolate", "linear", "slerp", "sequential"] as const)
          expect(bits(mergeInMemory(base, [tuned], { method, alpha: 1 })), method).toEqual(bitsOf(tuned));
      }),
      runs,
    );
  });

  it("a model merged with itself is itself", () => {
    fc.assert(
      fc.property(model, alphas, fc.integer({ min: 1, max: 3 }), (x, alpha, k) => {
        for (const method of METHODS) {
          if (k > 1 && (method === "interpolate" || method === "slerp")) continue;
          const merged = mergeInMemory(x, Array(k).fill(x), { method, alpha });
          // Only the sign of a zero may be lost: -0 + 0 is 0.
          for (const [name, { data }] of Object.entries(x))
            expect(
              [...merged[name]].map((v) => v + 0),
              method,
            ).toEqual([...data].map((v) => v + 0));
        }
      }),
      runs,
    );
  });

  it("the order of the models does not matter, bit for bit", () => {
    const permuted = fc.tuple(fc.array(model, { minLength: 2, maxLength: 4 }), fc.infiniteStream(fc.nat()));
    fc.assert(
      fc.property(model, permuted, alphas, (base, [models, keys], alpha) => {
        const weights = models.map((_, i) => 0.5 + i);
        const order = models
          .map((_, i) => ({ i, key: keys.next().value }))
          .sort((a, b) => a.key - b.key)
          .map(({ i }) => i);
        for (const given of [
          { method: "linear" },
          { method: "arithmetic" },
          { method: "ties", density: 0.4 },
          { method: "ties", density: 0.4, scope: "tensor", elect: "count" },
        ] as const) {
          const one = mergeInMemory(base, models, { ...given, alpha, weights });
          const other = mergeInMemory(
            base,
            order.map((i) => models[i]),
            { ...given, alpha, weights: order.map((i) => weights[i]) },
          );
          expect(bits(other), given.method).toEqual(bits(one));
        }
      }),
      runs,
    );
  });

  it("k copies of one model are one", () => {
    fc.assert(
      fc.property(model, model, fc.integer({ min: 2, max: 5 }), (base, tuned, k) => {
        const copies = Array.from({ length: k }, () => tuned);
        expect(bits(mergeInMemory(base, copies, { method: "linear", alpha: 1 }))).toEqual(bitsOf(tuned));
        for (const scope of ["model", "tensor"] as const)
          for (const alpha of [0.25, 1]) {
            const given = { method: "ties", density: 0.4, scope, alpha } as const;
            const [many, one] = [mergeInMemory(base, copies, given), mergeInMemory(base, [tuned], given)];
            expect(bits(many)).toEqual(bits(one));
          }
      }),
      runs,
    );
  });

  it("DARE drops what its seed says, keeps the expectation, and repeats", () => {
    const size = 20_000;
    const base = row(Array(size).fill(0));
    const tuned = row(Array(size).fill(1));
    const dare = (seed: number) => mergeInMemory(base, [tuned], { method: "dare", density: 0.25, seed }).x;
    const a = dare(1);
    expect(dare(1)).toEqual(a);
    expect(dare(2)).not.toEqual(a);
    expect(new Set(a)).toEqual(new Set([0, 4]));
    // The standard deviation of the mean is sqrt(0.25 * 0.75 / 20000) * 4 = 0.012.
    expect(Math.abs(a.reduce((x, y) => x + y, 0) / size - 1)).toBeLessThan(0.05);
    // Another model gets other entries.
    const two = mergeInMemory(base, [tuned, row(Array(size).fill(-1))], { method: "dare", density: 0.25 }).x;
    expect(new Set(two)).toEqual(new Set([0, 4, -4]));
  });

  it("finds the k-th largest magnitude exactly, piece by piece", () => {
    fc.assert(
      fc.property(
        fc.array(fc.float({ noNaN: true }), { minLength: 1, maxLength: 200 }),
        fc.nat(),
        fc.integer({ min: 1, max: 50 }),
        (values, pick, piece) => {
          const k = 1 + (pick % values.length);
          const selection = new MagnitudeSelection(k);
          const pass = () => {
            for (let at = 0; at < values.length; at += piece) {
              const part = Float32Array.from(values.slice(at, at + piece));
              selection.add(new Float32Array(part.length), part);
            }
          };
          pass();
          selection.next();
          pass();
          expect(selection.threshold()).toBe(values.map(Math.abs).sort((a, b) => b - a)[k - 1]);
        },
      ),
    );
  });
});
