import { describe, expect, test } from "vitest";
import type { OptimiserSpec } from "../../src/nn/optimisers.ts";
import { constantInit } from "../../src/params/params.ts";
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
