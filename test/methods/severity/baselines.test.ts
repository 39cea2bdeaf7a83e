import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Activation, type Layer, Mlp } from "../../../src/methods/severity/baselines/mlp.ts";
import { type Rows, Svm, squaredDistances } from "../../../src/methods/severity/baselines/svm.ts";
import { BoostedTrees } from "../../../src/methods/severity/baselines/trees.ts";
import { classificationScores } from "../../../src/metrics/classification.ts";
import { random } from "../../../src/random.ts";

// Made by scripts/reference/severity-baselines.py with scikit-learn and XGBoost.
const reference = JSON.parse(readFileSync(join(import.meta.dirname, "baselines.json"), "utf8"));
const rowsOf = (values: (number | null)[][]): Rows =>
  values.map((row) => Float64Array.from(row, (v) => v ?? Number.NaN));
const [x, xt] = [rowsOf(reference.x), rowsOf(reference.xt)];
const y: number[] = reference.y;
const CLASSES = 4;

function near(ours: readonly ArrayLike<number>[], theirs: number[][], tolerance: number): void {
  let worst = 0;
  for (const [i, row] of theirs.entries())
    for (const [k, v] of row.entries()) worst = Math.max(worst, Math.abs(ours[i][k] - v) / (1 + Math.abs(v)));
  expect(worst).toBeLessThan(tolerance);
}

describe("the support vector machine", () => {
  for (const { c, gamma, decisions, predicted } of reference.svm)
    it(`decides as scikit-learn's SVC at C = ${c}, gamma = ${gamma}`, () => {
      const machine = new Svm(squaredDistances(x, x), y, CLASSES, { c, gamma, tolerance: 1e-9 });
      const distances = squaredDistances(xt, x);
      // libsvm keeps the kernel in single precision, an error that weights up to C multiply.
      near(machine.decisions(distances), decisions, Math.max(1e-5, 5e-7 * c));
      expect(machine.predict(distances)).toEqual(predicted);
    });

  it("never calls a class without rows, and leaves the other pairs as they were", () => {
    const machine = new Svm(squaredDistances(x, x), y, CLASSES + 1, { c: 1, gamma: 0.1 });
    const same = new Svm(squaredDistances(x, x), y, CLASSES, { c: 1, gamma: 0.1 });
    expect(machine.predict(squaredDistances(xt, x))).toEqual(same.predict(squaredDistances(xt, x)));
  });
});

describe("the perceptron", () => {
  for (const { layers, activation, solver, learningRate, start, losses, probabilities } of reference.mlp)
    it(`learns as scikit-learn's with ${layers} ${activation} layers and ${solver}`, () => {
      const model = new Mlp(x, y, CLASSES, {
        layers,
        activation,
        solver,
        learningRate,
        batch: 16,
        shuffle: false,
        epochs: 12,
        seed: 1,
        start: start.map(
          ([w, b]: [number[][], number[]]): Layer => ({
            inputs: w.length,
            outputs: b.length,
            weights: Float64Array.from(w.flat()),
            bias: Float64Array.from(b),
          }),
        ),
      });
      near([model.losses], [losses], 1e-9);
      near(model.probabilities(xt), probabilities, 1e-9);
    });

  for (const activation of ["tanh", "relu", "logistic", "identity"] satisfies Activation[])
    it(`has gradients that central differences confirm (${activation})`, () => {
      const options = { layers: 2, width: 4, activation, solver: "sgd", learningRate: 0 } as const;
      const model = new Mlp(x, y, CLASSES, { ...options, epochs: 0, seed: 5, alpha: 0.1 });
      const { gradients } = model.pass(x, y);
      const chance = random(9, activation);
      for (const [l, layer] of model.layers.entries())
        for (const part of ["weights", "bias"] as const)
          for (let trial = 0; trial < 6; trial++) {
            const i = chance.int(layer[part].length);
            const value = layer[part][i];
            const at = (v: number) => {
              layer[part][i] = v;
              return model.pass(x, y).loss;
            };
            const slope = (at(value + 1e-5) - at(value - 1e-5)) / 2e-5;
            layer[part][i] = value;
            expect(gradients[l][part][i]).toBeCloseTo(slope, 6);
          }
    });

  it("stops where the loss stops falling, and survives a rate that is too large", () => {
    const options = { layers: 1, activation: "tanh", solver: "adam", seed: 1 } as const;
    expect(new Mlp(x, y, CLASSES, { ...options, learningRate: 0.1 }).losses.length).toBeLessThan(200);
    const wild = new Mlp(x, y, CLASSES, {
      layers: 8,
      activation: "identity",
      solver: "sgd",
      seed: 1,
      learningRate: 100,
    });
    expect(wild.predict(xt).every((k) => k >= -1 && k < CLASSES)).toBe(true);
  });
});

describe("boosted trees", () => {
  for (const { depth, rounds, missing, margins } of reference.trees)
    it(`grow as XGBoost's: depth ${depth}, ${rounds} rounds${missing ? ", missing values" : ""}`, () => {
      const [train, test] = [missing ? rowsOf(reference.holes) : x, xt];
      const model = new BoostedTrees(train, y, CLASSES, { depth, rounds });
      const ours = model.margins(test).map((row) => {
        const mean = row.reduce((a, b) => a + b, 0) / row.length;
        return row.map((v) => v - mean);
      });
      // XGBoost adds up in single precision.
      near(ours, margins, 2e-5);
    });
});

it("macro scores are scikit-learn's, with classes that are never called or never occur", () => {
  const { truth, said, accuracy, precision, recall, f1 } = reference.macro;
  const ours = classificationScores<number>(truth, said);
  expect(ours.accuracy).toBeCloseTo(accuracy, 12);
  expect(ours.macroPrecision).toBeCloseTo(precision, 12);
  expect(ours.macroRecall).toBeCloseTo(recall, 12);
  expect(ours.macroF1).toBeCloseTo(f1, 12);
});
