import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type NewBobSpec, newBob, newBobStart, type Schedule, schedule } from "../../src/nn/schedules.ts";

function expectClose(values: number[], expected: number[]) {
  for (const [i, value] of expected.entries()) expect(values[i]).toBeCloseTo(value, 12);
}

describe("schedules", () => {
  it("warms up, holds and decays as Speech-FT does (50,000 steps, 1e-4)", () => {
    const factor = schedule({ name: "warmup-hold-decay", warmup: 0.1, hold: 0.4 }, 50000);
    const lr = [0, 2500, 5000, 15000, 24999, 25000, 37500, 50000].map((step) => 1e-4 * factor(step));
    const expected = [0, 5e-5, 1e-4, 1e-4, 1e-4, 1e-4, 5e-5, 0];
    expectClose(lr, expected);
  });

  it("takes the same steps given as numbers", () => {
    const shares = schedule({ name: "warmup-hold-decay", warmup: 0.1, hold: 0.4 }, 1000);
    const steps = schedule({ name: "warmup-hold-decay", warmup: 100, hold: 400 }, 1000);
    for (let step = 0; step <= 1000; step += 7) expect(steps(step)).toBe(shares(step));
  });

  it.each([
    [1e-4, [5e-7, 2.525e-5, 5e-5, 5e-5, 5e-7, 5e-9, 5e-9]],
    [0.05, [5e-7, 2.525e-5, 5e-5, 5e-5, 1.118034e-5, 2.5e-6, 2.5e-6]],
  ])("runs fairseq's tri-stage schedule with a final scale of %d (15,000 steps, 5e-5)", (finalScale, lr) => {
    const factor = schedule(
      { name: "tri-stage", warmup: 0.1, hold: 0.4, decay: 0.5, initialScale: 0.01, finalScale },
      15000,
    );
    for (const [i, step] of [0, 750, 1500, 7500, 11250, 15000, 16000].entries())
      expect((5e-5 * factor(step)) / lr[i]).toBeCloseTo(1, 6);
  });

  it("falls in a straight line after its warm-up", () => {
    const factor = schedule({ name: "linear", warmup: 10, finalScale: 0.1 }, 110);
    expectClose([0, 5, 10, 60, 110, 200].map(factor), [0, 0.5, 1, 0.55, 0.1, 0.1]);
  });

  it("peaks at the end of Noam's warm-up with (dim * warmup)^-0.5", () => {
    const factor = schedule({ name: "noam", warmup: 25000, dim: 768 }, 100000);
    expect(factor(24999)).toBeCloseTo((768 * 25000) ** -0.5, 12);
    expect(factor(0)).toBeCloseTo(768 ** -0.5 * 25000 ** -1.5, 14);
    expect(factor(99999) / factor(24999)).toBeCloseTo(0.5, 9);
  });

  it("falls with the root of the step", () => {
    const factor = schedule({ name: "inverse-sqrt", warmup: 100, initialScale: 0.2 }, 10000);
    expectClose([0, 50, 100, 400, 10000].map(factor), [0.2, 0.6, 1, 0.5, 0.1]);
  });

  it("never leaves 0..1 and ends where it says (all but Noam)", () => {
    for (const total of [1, 2, 3, 10, 997])
      for (const spec of [
        { name: "linear", warmup: 0.3, finalScale: 0 },
        { name: "warmup-hold-decay", warmup: 0.1, hold: 0.4 },
        { name: "tri-stage", warmup: 0.1, hold: 0.4, decay: 0.5, initialScale: 0.01, finalScale: 0.05 },
        { name: "inverse-sqrt", warmup: 0.1, initialScale: 0 },
      ] as const) {
        const factor = schedule(spec, total);
        for (let step = 0; step <= total + 1; step++) {
          expect(factor(step)).toBeGreaterThanOrEqual(0);
          expect(factor(step)).toBeLessThanOrEqual(1);
        }
      }
  });
});

describe("NewBob", () => {
  const spec: NewBobSpec = { name: "newbob", factor: 0.8, threshold: 0.0025, patience: 0 };
  const run = (losses: number[], over: Partial<NewBobSpec> = {}) => {
    const used = { ...spec, ...over };
    const factors: number[] = [];
    let state = newBobStart(used);
    for (const loss of losses) {
      // Through JSON, as a checkpoint stores it.
      state = newBob(used, JSON.parse(JSON.stringify(state)), loss);
      factors.push(state.factor);
    }
    return factors;
  };

  it("lowers the rate where the relative improvement is under the threshold", () => {
    expect(run([10, 2, 2.5])).toEqual([1, 1, 0.8]);
    expect(run([1, 0.998, 0.9])).toEqual([1, 0.8, 0.8]);
    expect(run([1, 0.9974])).toEqual([1, 1]);
    expect(run([0, 0])).toEqual([1, 0.8]);
  });

  it("forgives as often as its patience, each time anew", () => {
    expect(run([1, 1, 1, 1, 1, 1, 1], { patience: 2, factor: 0.5 })).toEqual([1, 1, 1, 0.5, 0.5, 0.5, 0.25]);
  });
});

/** One line of the fixture, made by scripts/reference/ops-values.py from transformers, SpeechBrain and formulas. */
interface Case {
  name: "linear" | "constant" | "inverseSqrt" | "warmHoldDecay" | "triStage" | "noam" | "newBob";
  source: string;
  lr: number;
  steps?: number;
  warmup?: number;
  dim?: number;
  phases?: [number, number, number];
  initial?: number;
  final?: number;
  factor?: number;
  threshold?: number;
  patience?: number;
  metrics?: number[];
  values?: number[];
  points?: [number, number][];
}
const fixture = join(import.meta.dirname, "../fixtures/reference/ops.json");
const cases: Case[] = JSON.parse(readFileSync(fixture, "utf8")).schedules;

function ours({ name, steps = 0, warmup = 0, dim, phases, initial = 0, final = 0 }: Case): Schedule {
  switch (name) {
    case "linear":
      return schedule({ name: "linear", warmup, finalScale: 0 }, steps);
    case "inverseSqrt":
      return schedule({ name: "inverse-sqrt", warmup, initialScale: 0 }, steps);
    case "warmHoldDecay":
      return schedule({ name: "warmup-hold-decay", warmup: 0.1, hold: 0.4 }, steps);
    case "triStage": {
      const [rise, hold, decay] = phases!;
      const spec = {
        name: "tri-stage",
        warmup: rise,
        hold,
        decay,
        initialScale: initial,
        finalScale: final,
      } as const;
      return schedule(spec, steps);
    }
    case "noam": {
      // The fixture counts updates from 1, as the formula does.
      const factor = schedule({ name: "noam", warmup, dim }, steps);
      return (n) => factor(n - 1);
    }
    default:
      return schedule({ name: "constant" }, steps);
  }
}

describe("reference values", () => {
  it.each(cases.filter((each) => each.points))("$source: $name, case %#", (each) => {
    const factor = ours(each);
    for (const [step, rate] of each.points!)
      expect(Math.abs(each.lr * factor(step) - rate)).toBeLessThanOrEqual(1e-11 * each.lr);
  });

  it.each(cases.filter((each) => each.values))("$source: NewBob, case %#", ({ metrics, values, ...spec }) => {
    const newbob = {
      name: "newbob",
      factor: spec.factor!,
      threshold: spec.threshold!,
      patience: spec.patience!,
    } as const;
    let state = newBobStart(newbob);
    for (const [i, metric] of metrics!.entries()) {
      state = newBob(newbob, state, metric);
      expect(state.factor).toBeCloseTo(values![i], 12);
    }
  });
});
