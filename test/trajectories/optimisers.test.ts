import { describe, expect, test } from "vitest";
import type { OptimiserSpec } from "../../src/nn/optimisers.ts";
import { constantInit } from "../../src/params/params.ts";
import { random } from "../../src/random.ts";
import { Optimiser } from "../../src/train/optimiser.ts";
import { ParameterStore } from "../../src/train/store.ts";
import { fixture, type Stored } from "./reference.ts";

interface Case {
  name: string;
  kind: "Adam" | "AdamW" | "SGD" | "Adadelta";
  lr: number | number[];
  /** The first parameter gets no gradient before this step: it starts late. */
  late: number;
  clip?: number;
  norms?: number[];
  options: {
    betas?: [number, number];
    eps?: number;
    rho?: number;
    weight_decay?: number;
    momentum?: number;
    dampening?: number;
    nesterov?: boolean;
  };
  after: number[][];
}
const { start, gradients, cases } = fixture<{
  optimisers: { start: Stored; gradients: number[][]; cases: Case[] };
}>("ops.json").optimisers;

/** Values of the first of the two parameters. */
const FIRST = 3;

function specOf({ kind, options }: Case): OptimiserSpec {
  if (kind === "SGD")
    return { name: "sgd", momentum: options.momentum ?? 0, nesterov: options.nesterov ?? false };
  if (kind === "Adadelta") return { name: "adadelta", rho: options.rho ?? 0.9, eps: options.eps ?? 1e-6 };
  const name = kind === "Adam" ? "adam" : "adamw";
  return { name, betas: options.betas ?? [0.9, 0.999], eps: options.eps ?? 1e-8 };
}

describe("ten steps as PyTorch makes them", () => {
  // Dampening is offered by no recipe.
  test.each(cases.filter(({ options }) => options.dampening === undefined))("$name", async (c) => {
    const size = start.data.length;
    const spec = { name: "w", shape: [size], init: constantInit(0) };
    const store = new ParameterStore(new Map([["w", spec]]), () => true);
    store.weights.set(start.data);
    const optimiser = new Optimiser(specOf(c), store, { threads: 1 });
    for (const [i, gradient] of gradients.entries()) {
      store.gradients.set(gradient);
      let scale = 1;
      if (c.clip !== undefined) {
        const norm = await optimiser.norm([{ start: 0, end: size }]);
        expect(norm).toBeCloseTo(c.norms![i], 4);
        scale = Math.min(1, c.clip / (norm + 1e-6));
      }
      const lr = typeof c.lr === "number" ? c.lr : c.lr[i];
      const weightDecay = c.options.weight_decay ?? 0;
      const setting = { lr, weightDecay };
      const ranges = [
        { start: 0, end: FIRST, step: i + 1 - c.late, ...setting },
        { start: FIRST, end: size, step: i + 1, ...setting },
      ];
      await optimiser.step(
        ranges.filter(({ step }) => step >= 1),
        scale,
      );
      for (const [k, want] of c.after[i].entries())
        expect(Math.abs(store.weights[k] - want), `step ${i + 1}, weight ${k}`).toBeLessThan(2e-6);
    }
    await optimiser.dispose();
  });
});

test("how many threads an update has changes no bit of it", async () => {
  // Two runs of pieces, the second of them short.
  const size = 3_000_000;
  const rng = random(5, "threads");
  const draw = () => Float32Array.from({ length: size }, () => rng.next() - 0.5);
  const [weights, slopes] = [draw(), draw()];
  const after = async (threads: number) => {
    const spec = { name: "w", shape: [size], init: constantInit(0) };
    const store = new ParameterStore(new Map([["w", spec]]), () => true);
    store.weights.set(weights);
    store.gradients.set(slopes);
    const optimiser = new Optimiser({ name: "adam", betas: [0.9, 0.999], eps: 1e-8 }, store, { threads });
    const range = { start: 0, end: size };
    const norms = [];
    for (const step of [1, 2]) {
      norms.push(await optimiser.norm([range]));
      await optimiser.step([{ ...range, lr: 0.1 / step, weightDecay: 0, step }], 1 / step);
    }
    await optimiser.dispose();
    const { mean, square } = optimiser.states;
    return { norms, arrays: { weights: store.weights, mean, square } };
  };
  const alone = await after(1);
  const exact = Math.sqrt(slopes.reduce((sum, v) => sum + v * v, 0));
  for (const norm of alone.norms) expect(Math.abs(norm / exact - 1)).toBeLessThan(1e-6);
  const several = await after(3);
  expect(several.norms).toEqual(alone.norms);
  for (const name of ["weights", "mean", "square"] as const)
    expect(Buffer.compare(bytes(several.arrays[name]), bytes(alone.arrays[name])), name).toBe(0);
});

const bytes = ({ buffer }: Float32Array) => Buffer.from(buffer as ArrayBuffer);
