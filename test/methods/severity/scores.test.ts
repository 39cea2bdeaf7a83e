import { describe, expect, it } from "vitest";
import {
  type Graded,
  intervals,
  severityScores,
  spreadOf,
} from "../../../src/methods/severity/study/scores.ts";
import { ranked } from "../../../src/methods/severity/study/select.ts";
import { gridValues, summarise, tableTwo } from "../../../src/methods/severity/study/tables.ts";

const classes = ["0", "1", "2"];
const one = (id: string, speaker: string, truth: string, predicted: string, p?: number[]): Graded => ({
  ...{ id, speaker, truth, predicted },
  ...(p && { probabilities: Object.fromEntries(classes.map((name, k) => [name, p[k]])) }),
  edits: { errors: 1, expected: 4 },
});
const items = [
  one("a1", "a", "0", "0", [0.5, 0.4, 0.1]),
  one("a2", "a", "0", "1", [0.4, 0.45, 0.15]),
  one("b1", "b", "2", "1", [0.1, 0.5, 0.4]),
  one("b2", "b", "2", "1", [0.0, 0.51, 0.49]),
  one("b3", "b", "2", "2", [0.0, 0.1, 0.9]),
];

describe("scores of a study", () => {
  it("are scikit-learn's, per utterance and per speaker", () => {
    const scores = severityScores(items, classes);
    // Macro averages over the labels in truth or answers; values by hand.
    expect(scores.accuracy).toBeCloseTo(2 / 5, 12);
    expect(scores.macroPrecision).toBeCloseTo((1 + 0 + 1) / 3, 12);
    expect(scores.macroRecall).toBeCloseTo((1 / 2 + 0 + 1 / 3) / 3, 12);
    expect(scores.macroF1).toBeCloseTo((2 / 3 + 0 + 1 / 2) / 3, 12);
    expect(scores.per).toBe(0.25);
    // a: one vote each, the milder wins; b: two votes for 1, but the mean of the probabilities says 2.
    expect(scores.speakerVote).toBe(0.5);
    expect(scores.speakerMean).toBe(1);
    expect(scores.spearman).toBeGreaterThan(0);
    expect(
      severityScores(
        items.map(({ probabilities, ...rest }) => rest),
        classes,
      ).speakerMean,
    ).toBeUndefined();
  });

  it("of a majority call on the paper's speakers are those that can be worked out", () => {
    const counts = [100, 250, 260, 120, 70];
    const five = ["0", "1", "2", "3", "4"];
    const all = counts.flatMap((n, k) =>
      Array.from({ length: n }, (_, i) => one(`${k}-${i}`, `${k}-${i}`, five[k], "2")),
    );
    const { accuracy, macroRecall, macroF1, kappa } = severityScores(all, five);
    expect([accuracy, macroRecall]).toEqual([0.325, 0.2]);
    expect(macroF1).toBeCloseTo((2 * 0.325) / (1 + 0.325) / 5, 12);
    expect(kappa).toBe(0);
  });

  it("have intervals drawn by speaker", () => {
    const many = Array.from({ length: 60 }, (_, i) => one(`${i}`, `s${i % 12}`, "0", i % 12 < 6 ? "0" : "1"));
    const { accuracy } = intervals(many, classes);
    expect(accuracy!.estimate).toBe(0.5);
    expect(accuracy!.by).toBe("cluster");
    expect(accuracy!.drawn).toBe(12);
    // Twelve coins, not sixty: about 0.5 ± 0.28.
    expect(accuracy!.high - accuracy!.low).toBeGreaterThan(0.4);
  });

  it("spread and summaries leave out what is not there", () => {
    expect(spreadOf([1, 3])).toEqual({ mean: 2, sd: Math.SQRT2, values: [1, 3] });
    const row = { input: "x", system: "y", runs: [{ fold: 0, seed: 1, answers: items }], left: 2 };
    const summary = summarise(row, classes);
    expect(summary.scores.accuracy).toEqual({ mean: 0.4, sd: 0, values: [0.4] });
    expect([summary.left, summary.speakers, summary.utterances]).toEqual([2, 2, 5]);
  });
});

describe("the grid", () => {
  const cell = (alpha: number, e: number, accuracy: number, per: number) => ({
    alpha,
    e,
    scores: [{ ...severityScores(items, classes), accuracy, per }],
  });
  const cells = [
    cell(1, 0, 0.5, 0.2),
    cell(1, 2, 0.6, 0.3),
    cell(0.1, 0, 0.6, 0.1),
    cell(0.1, 2, 0.4, 0.4),
    cell(0, 0, 0.3, 1),
  ];

  it("is ranked by what chooses, then by the phone error rate", () => {
    expect(ranked(cells, "accuracy").map(({ alpha, e }) => [alpha, e])).toEqual([
      [0.1, 0],
      [1, 2],
      [1, 0],
      [0.1, 2],
      [0, 0],
    ]);
  });

  it("is laid out as the paper's Table 2", () => {
    expect(gridValues(cells, "accuracy")).toEqual({
      ...{ alphas: [1, 0.1], epochs: [0, 2], single: 0.3 },
      values: [
        [0.5, 0.6],
        [0.6, 0.4],
      ],
    });
    expect(tableTwo(cells)).toContain("| e = 2    | 60.00     | 40.00       |");
  });
});
