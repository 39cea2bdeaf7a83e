import { describe, expect, it } from "vitest";
import type { PartOutcome } from "../../../src/methods/severity/replication/part.ts";
import { claimsOf } from "../../../src/methods/severity/replication/section.ts";
import { RAW } from "../../../src/methods/severity/study/protocol.ts";
import { type Graded, severityScores } from "../../../src/methods/severity/study/scores.ts";
import { type SystemRow, summarise } from "../../../src/methods/severity/study/tables.ts";

const classes = ["0", "1"];
/** Forty speakers, of whom the first `right` are graded right. */
const answers = (right: number): Graded[] =>
  Array.from({ length: 40 }, (_, i) => ({
    id: `u${i}`,
    speaker: `s${i}`,
    truth: String(i % 2),
    predicted: String(i < right ? i % 2 : 1 - (i % 2)),
  }));
const row = (input: string, system: string, right: number): SystemRow => ({
  input,
  system,
  runs: [{ fold: 0, seed: 1, answers: answers(right) }],
  left: 0,
});

function part(
  multi: number,
  single: number,
  base: number,
  per: (alpha: number, e: number) => number,
): PartOutcome {
  const final = [
    row(RAW, "STL", single),
    row(RAW, "MTL (chosen on validation)", multi),
    row("eGeMAPS", "SVM", base),
  ];
  const scores = severityScores(answers(20), classes);
  const grid = [1, 0.1].flatMap((alpha) =>
    [0, 2].map((e) => ({ alpha, e, scores: [{ ...scores, per: per(alpha, e) }] })),
  );
  return {
    ...{ title: "", about: "", settings: 5, grid, best: [], folds: [0], seeds: [1], final, left: 0 },
    summaries: final.map((each) => summarise(each, classes)),
    curves: { single: [[1, 0.5, 2]], multi: [[1, 0.5, 0.6]] },
  };
}

const verdicts = (outcome: PartOutcome) => claimsOf(outcome, classes).map(({ verdict }) => verdict);

describe("what the replication makes of the paper's claims", () => {
  it("holds where the difference is beyond chance, and only there", () => {
    const falls = (alpha: number, e: number) => 0.9 - 0.3 * alpha - 0.1 * e;
    expect(verdicts(part(38, 15, 14, falls))).toEqual(["holds", "holds", "holds", "not run", "holds"]);
    expect(verdicts(part(22, 21, 30, falls)).slice(0, 2)).toEqual(["undecided", "does not hold"]);
    expect(verdicts(part(15, 38, 39, falls)).slice(0, 2)).toEqual(["does not hold", "does not hold"]);
  });

  it("sees no fall in error rates that are all the same", () => {
    expect(verdicts(part(20, 20, 20, () => 1))[2]).toBe("does not hold");
    expect(verdicts(part(20, 20, 20, (alpha) => 0.5 + 0.1 * alpha))[2]).toBe("does not hold");
  });

  it("says what was not run", () => {
    const empty = {
      ...part(1, 1, 1, () => 1),
      final: [],
      summaries: [],
      grid: [],
      curves: { single: [], multi: [] },
    };
    expect(new Set(verdicts(empty))).toEqual(new Set(["not run"]));
  });
});
