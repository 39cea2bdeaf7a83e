import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  calibration,
  fitTemperature,
  negativeLogLikelihood,
  softmax,
} from "../../src/metrics/calibration.ts";
import {
  accuracy,
  classificationScores,
  confusionMatrix,
  quadraticKappa,
} from "../../src/metrics/classification.ts";
import { fixture } from "./fixture.ts";

const reference = fixture("basic");

describe("classification", () => {
  test("scikit-learn's accuracy, precision, recall, F1, confusion matrix and kappa", () => {
    for (const c of reference.classification) {
      const scores = classificationScores<number>(c.truth, c.predicted);
      expect(scores.accuracy).toBeCloseTo(c.accuracy, 14);
      expect(scores.macroPrecision).toBeCloseTo(c.precision, 14);
      expect(scores.macroRecall).toBeCloseTo(c.recall, 14);
      expect(scores.macroF1).toBeCloseTo(c.f1, 14);
      scores.classes.forEach((one, i) => {
        expect(one.precision).toBeCloseTo(c.classPrecision[i], 14);
        expect(one.recall).toBeCloseTo(c.classRecall[i], 14);
        expect(one.f1).toBeCloseTo(c.classF1[i], 14);
        expect(one.support).toBe(c.support[i]);
      });
      expect(confusionMatrix(c.truth, c.predicted).counts).toEqual(c.confusion);
      expect(quadraticKappa(c.truth, c.predicted)).toBeCloseTo(c.kappa, 13);
      const grades = Array.from({ length: Math.max(...c.truth, ...c.predicted) + 1 }, (_, i) => i);
      expect(quadraticKappa(c.truth, c.predicted, grades)).toBeCloseTo(c.kappaAll, 13);
    }
  });

  test("a missing grade changes kappa: distances are between named grades", () => {
    const [truth, predicted] = [
      [0, 1, 4, 4, 0],
      [0, 4, 4, 1, 1],
    ];
    expect(quadraticKappa(truth, predicted)).not.toBeCloseTo(
      quadraticKappa(truth, predicted, [0, 1, 2, 3, 4]),
    );
  });

  test("the majority predictor of the severity corpus: macro recall 0.2, macro F1 0.0981", () => {
    const truth = [100, 250, 260, 120, 70].flatMap((n, grade) => new Array<number>(n).fill(grade));
    const scores = classificationScores(
      truth,
      truth.map(() => 2),
    );
    expect(scores.accuracy).toBeCloseTo(0.325, 12);
    expect(scores.macroRecall).toBeCloseTo(0.2, 12);
    expect(scores.macroF1).toBeCloseTo(0.0981, 4);
  });

  test("text labels sort, and a label outside the named ones is refused", () => {
    expect(confusionMatrix(["b", "a"], ["a", "a"])).toEqual({
      labels: ["a", "b"],
      counts: [
        [1, 0],
        [1, 0],
      ],
    });
    expect(() => confusionMatrix(["c"], ["a"], ["a", "b"])).toThrow("label c is not among a, b");
    expect(() => accuracy([1], [])).toThrow("1 true labels but 0 predictions");
  });
});

describe("calibration", () => {
  const { logits, truth, temperature, nll, nll1, ece, brier } = reference.calibration;

  test("the temperature that SciPy finds, and the likelihoods", () => {
    expect(fitTemperature(logits, truth)).toBeCloseTo(temperature, 6);
    expect(negativeLogLikelihood(logits, truth)).toBeCloseTo(nll1, 12);
    expect(negativeLogLikelihood(logits, truth, fitTemperature(logits, truth))).toBeCloseTo(nll, 12);
  });

  test("expected calibration error and Brier score", () => {
    const got = calibration(
      logits.map((row: number[]) => softmax(row)),
      truth,
      10,
    );
    expect(got.expectedError).toBeCloseTo(ece, 12);
    expect(got.brier).toBeCloseTo(brier, 12);
    expect(got.bins.reduce((sum, bin) => sum + bin.items, 0)).toBe(truth.length);
  });

  test("no other temperature has a lower loss, and scaled logits scale it", () => {
    const best = fitTemperature(logits, truth);
    const loss = negativeLogLikelihood(logits, truth, best);
    fc.assert(
      fc.property(fc.double({ min: 0.05, max: 20, noNaN: true }), (t) => {
        expect(negativeLogLikelihood(logits, truth, t)).toBeGreaterThanOrEqual(loss - 1e-12);
      }),
    );
    const doubled = logits.map((row: number[]) => row.map((v) => 2 * v));
    expect(fitTemperature(doubled, truth)).toBeCloseTo(2 * best, 9);
  });

  test("softmax survives large logits", () => {
    expect([...softmax([1000, 1000, -1000])]).toEqual([0.5, 0.5, 0]);
  });
});
