import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { queryDistances, subsequenceDtw } from "../../src/decode/subsequence-dtw.ts";
import { assign } from "../../src/metrics/assignment.ts";
import { corpusBleu, tokenize13a } from "../../src/metrics/bleu.ts";
import { diarizationError, sumDiarization, type Turn } from "../../src/metrics/diarization.ts";
import { parseSlots, slotScores } from "../../src/metrics/slots.ts";
import { superbEndPoints, superbScore } from "../../src/metrics/superb-score.ts";
import {
  falseAlarmWeight,
  maxTermWeightedValue,
  type TermTrials,
  termWeightedValue,
} from "../../src/metrics/term-detection.ts";
import { equalErrorRate, minDetectionCost } from "../../src/metrics/verification.ts";
import { fixture } from "./fixture.ts";

const reference = fixture("tasks");

describe("verification", () => {
  test("equal error rate and detection cost of s3prl, ties and perfect separation included", () => {
    for (const { labels, scores, eer, minDcf, minDcf01 } of reference.verification) {
      expect(equalErrorRate(scores, labels).rate).toBeCloseTo(eer, 10);
      expect(minDetectionCost(scores, labels, { prior: 0.05 }).cost).toBeCloseTo(minDcf, 12);
      expect(minDetectionCost(scores, labels, { prior: 0.01, costMiss: 10 }).cost).toBeCloseTo(minDcf01, 12);
    }
  });

  test("a monotone change of the scores changes nothing; both kinds of trial are needed", () => {
    const { labels, scores } = reference.verification[0];
    const warped = scores.map((s: number) => Math.exp(s) - 3);
    expect(equalErrorRate(warped, labels).rate).toBeCloseTo(equalErrorRate(scores, labels).rate, 12);
    expect(equalErrorRate([1, 2], [1, 0]).rate).toBe(1);
    expect(() => equalErrorRate([1, 2], [1, 1])).toThrow("2 target and 0 non-target trials");
  });
});

describe("term-weighted value", () => {
  test("weights of NIST, a perfect and an empty system", () => {
    expect(falseAlarmWeight()).toBeCloseTo(999.9, 9);
    const term = (detections: TermTrials["detections"]) => [
      { term: "a", targets: 2, nonTargets: 998, detections },
    ];
    const perfect = term([
      { score: 2, correct: true },
      { score: 1, correct: true },
      { score: 0, correct: false },
    ]);
    expect(maxTermWeightedValue(perfect, 999.9)).toEqual({ value: 1, threshold: 1 });
    expect(maxTermWeightedValue(term([]), 999.9)).toEqual({ value: 0, threshold: Infinity });
    // One hit of two, one false alarm: 1 - (0.5 + 999.9 / 998).
    expect(
      termWeightedValue(
        term([
          { score: 2, correct: true },
          { score: 2, correct: false },
        ]),
        999.9,
        2,
      ),
    ).toBeCloseTo(0.5 - 999.9 / 998, 12);
  });

  test("the maximum is the best of all thresholds; terms that never occur do not count", () => {
    const detection = fc.record({ score: fc.integer({ min: 0, max: 6 }), correct: fc.boolean() });
    const terms = fc.array(fc.array(detection, { maxLength: 8 }), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(terms, fc.constantFrom(1, 12.5, 999.9), (lists, beta) => {
        const trials = lists.map((detections, i) => ({
          term: String(i),
          targets: detections.filter(({ correct }) => correct).length + 1,
          nonTargets: 100,
          detections,
        }));
        const thresholds = [0, 1, 2, 3, 4, 5, 6, 7];
        const best = Math.max(...thresholds.map((t) => termWeightedValue(trials, beta, t)));
        const found = maxTermWeightedValue(trials, beta);
        expect(found.value).toBeCloseTo(best, 10);
        expect(termWeightedValue(trials, beta, found.threshold)).toBeCloseTo(best, 10);
        const absent = {
          term: "absent",
          targets: 0,
          nonTargets: 9,
          detections: [{ score: 9, correct: false }],
        };
        expect(maxTermWeightedValue([...trials, absent], beta).value).toBeCloseTo(best, 10);
      }),
    );
  });
});

describe("subsequence DTW", () => {
  test("distance and place as dtw-python finds them", () => {
    for (const { query, document, distance, start, end } of reference.dtw) {
      const distances = queryDistances(query.flat(), document.flat(), 4);
      const got = subsequenceDtw(distances, query.length, document.length);
      expect(got.distance).toBeCloseTo(distance, 10);
      expect([got.start, got.end]).toEqual([start, end]);
    }
  });

  test("is the cheapest of all paths", () => {
    const matrix = fc.array(
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 5, maxLength: 5 }),
      {
        minLength: 1,
        maxLength: 4,
      },
    );
    fc.assert(
      fc.property(matrix, (rows) => {
        const cheapest = (i: number, j: number): number =>
          i < 0
            ? 0
            : rows[i][j] +
              (i === 0 ? 0 : Math.min(...[0, 1, 2].filter((d) => j >= d).map((d) => cheapest(i - 1, j - d))));
        const best = Math.min(...[0, 1, 2, 3, 4].map((j) => cheapest(rows.length - 1, j)));
        expect(subsequenceDtw(rows.flat(), rows.length, 5).distance).toBeCloseTo(best / rows.length, 12);
      }),
    );
    expect(() => subsequenceDtw([], 0, 0)).toThrow("0 distances are not 0 x 0 frames");
  });
});

describe("slots", () => {
  test("slot-type F1 and slot-value errors of s3prl", () => {
    const { refs, hyps, typeF1, valueCer, valueWer, each } = reference.slots;
    const whole = slotScores(refs, hyps);
    expect(whole.typeF1).toBeCloseTo(typeF1, 12);
    expect(whole.valueCer.rate).toBeCloseTo(valueCer, 12);
    expect(whole.valueWer.rate).toBeCloseTo(valueWer, 12);
    each.forEach(({ f1, cer }: { f1: number; cer: number | null }, i: number) => {
      const one = slotScores([refs[i]], [hyps[i]]);
      expect(one.typeF1).toBeCloseTo(f1, 12);
      expect(one.valueCer.rate).toBeCloseTo(cer ?? 0, 12);
    });
  });

  test("a slot that is not closed by its own type is none", () => {
    expect(parseSlots("B-a x E-b y E-a B-c z")).toEqual(new Map([["a", ["x y"]]]));
  });
});

describe("BLEU", () => {
  test("tokens of sacreBLEU's 13a", () => {
    const { refs, hyps, extra, tokens } = reference.bleu;
    [...refs, ...hyps, ...extra].forEach((text: string, i: number) => {
      expect(tokenize13a(text).join(" ")).toBe(tokens[i]);
    });
  });

  test("corpus scores of sacreBLEU, with precisions and brevity penalty", () => {
    const { refs, hyps, subsets, multi, disjoint, smoothed } = reference.bleu;
    for (const { keep, score, precisions, brevity, hyp, ref } of subsets) {
      const got = corpusBleu(
        keep.map((k: number) => hyps[k]),
        keep.map((k: number) => [refs[k]]),
      );
      expect(got.score).toBeCloseTo(score, 9);
      got.precisions.forEach((p, n) => {
        expect(p).toBeCloseTo(precisions[n], 9);
      });
      expect(got.brevityPenalty).toBeCloseTo(brevity, 12);
      expect([got.hypothesisTokens, got.referenceTokens]).toEqual([hyp, ref]);
    }
    for (const { hyp, refs: texts, score } of smoothed)
      expect(corpusBleu([hyp], [texts]).score).toBeCloseTo(score, 9);
    const several = corpusBleu(
      ["the cat sat on the mat", "it is a guide to action"],
      [
        ["the cat is on the mat", "there is a cat on the mat today"],
        ["it is a guide for action", "it is the guiding principle of the action"],
      ],
    );
    expect(several.score).toBeCloseTo(multi, 9);
    expect(corpusBleu(["x y z w v"], [["a b c d e"]]).score).toBe(disjoint);
    expect(corpusBleu(["a b c d e"], [["a b c d e"]]).score).toBeCloseTo(100, 9);
  });
});

describe("assignment", () => {
  test("is the best of all permutations", () => {
    const weight = fc.integer({ min: -5, max: 20 });
    const matrix = fc
      .tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 5 }))
      .chain(([rows, columns]) =>
        fc.array(fc.array(weight, { minLength: columns, maxLength: columns }), {
          minLength: rows,
          maxLength: rows,
        }),
      );
    const best = (rows: number[][], taken: number[] = []): number => {
      if (rows.length === 0) return 0;
      const free = rows[0].map((_, j) => j).filter((j) => !taken.includes(j));
      const surplus = rows.length > free.length ? [best(rows.slice(1), taken)] : [];
      return Math.max(...surplus, ...free.map((j) => rows[0][j] + best(rows.slice(1), [...taken, j])));
    };
    fc.assert(
      fc.property(matrix, (rows) => {
        const columns = assign(rows);
        const used = columns.filter((j) => j >= 0);
        expect(new Set(used).size).toBe(used.length);
        expect(used.length).toBe(Math.min(rows.length, rows[0].length));
        const total = columns.reduce((sum, j, i) => sum + (j < 0 ? 0 : rows[i][j]), 0);
        expect(total).toBe(best(rows));
      }),
      { numRuns: 300 },
    );
    expect(assign([])).toEqual([]);
  });
});

describe("diarization", () => {
  const turns = (list: [string, number, number][]): Turn[] =>
    list.map(([speaker, start, end]) => ({ speaker, start, end }));

  test("the mapping is fixed before collars are cut out, as md-eval has it", () => {
    const { ref, hyp, results } = reference.diarization.at(-1);
    const got = diarizationError(turns(ref), turns(hyp), { collar: 0.25 });
    expect(got.mapping).toEqual({ a: "x" });
    expect(got.rate).toBe(1);
    expect(results.find((r: { collar: number }) => r.collar === 0.25).percent).toBe(100);
  });

  test("md-eval's times, with and without collar and overlap", () => {
    for (const { ref, hyp, results } of reference.diarization) {
      for (const { collar, single, scored, missed, falseAlarm, confusion, percent } of results) {
        const got = diarizationError(turns(ref), turns(hyp), { collar, singleSpeaker: single });
        // md-eval prints hundredths.
        expect(got.scored).toBeCloseTo(scored, 1.9);
        expect(got.missed).toBeCloseTo(missed, 1.9);
        expect(got.falseAlarm).toBeCloseTo(falseAlarm, 1.9);
        expect(got.confusion).toBeCloseTo(confusion, 1.9);
        expect(100 * got.rate).toBeCloseTo(percent, 1.9);
      }
    }
  });

  test("names do not matter, silence is missed, regions limit what counts", () => {
    const ref = turns([
      ["a", 0, 5],
      ["b", 4, 10],
    ]);
    const renamed = ref.map((turn) => ({ ...turn, speaker: `x${turn.speaker}` }));
    expect(diarizationError(ref, renamed)).toMatchObject({
      rate: 0,
      scored: 11,
      mapping: { a: "xa", b: "xb" },
    });
    expect(diarizationError(ref, [])).toMatchObject({ rate: 1, missed: 11 });
    expect(diarizationError(ref, [], { regions: [{ start: 0, end: 2 }] })).toMatchObject({ missed: 2 });
    const swapped = [
      { speaker: "a", start: 0, end: 5 },
      { speaker: "a", start: 5, end: 10 },
    ];
    const got = diarizationError(ref, swapped);
    expect(got).toMatchObject({ missed: 1, confusion: 4, mapping: { b: "a" } });
    expect(sumDiarization([got, diarizationError(ref, renamed)]).rate).toBeCloseTo(5 / 22, 12);
  });
});

describe("SUPERB score", () => {
  const columns = ["PR", "SID", "ER", "SF_F1", "SF_CER"] as const;
  const { rows } = fixture("superb-score");

  test("the paper's rows to a hundredth; one row is misprinted there", () => {
    expect(rows.length).toBe(42);
    for (const [name, ...numbers] of rows) {
      const printed = numbers.pop();
      const { score } = superbScore(Object.fromEntries(columns.map((column, i) => [column, numbers[i]])));
      // The paper prints 805.33 for a row that comes to 805.53.
      if (name === "ASR on Librispeech Stable-FT") expect(score).toBeCloseTo(805.5289, 4);
      else expect(Math.abs(score - printed), name).toBeLessThanOrEqual(0.0051);
    }
  });

  test("all ten tasks: slot filling counts once, not twice", () => {
    const names = ["PR", "ASR", "KS", "QbE", "SID", "ASV", "SD", "ER", "IC", "SF_F1", "SF_CER"] as const;
    const table: [number[], number, number][] = [
      [[4.76, 6.53, 96.49, 0.0883, 81.78, 6.03, 6.25, 65.48, 98.73, 88.65, 24.05], 829.6, 829.39],
      [[10.34, 12.18, 94.94, 0.0536, 66.34, 6.94, 7.54, 61.25, 96.76, 83.5, 33.82], 668.7, 660.23],
      [[5.17, 6.38, 96.59, 0.0687, 81.86, 5.56, 6.32, 64.99, 98.02, 88.54, 24.7], 815.47, 815.49],
    ];
    for (const [values, printed, flat] of table) {
      const results = Object.fromEntries(names.map((name, i) => [name, values[i]]));
      const { score, tasks } = superbScore(results);
      expect(Math.abs(score - printed)).toBeLessThanOrEqual(0.0051);
      expect(Object.keys(tasks).length).toBe(10);
      const metrics = names.map((name) => superbScore({ [name]: results[name] }).score);
      const flatMean = metrics.reduce((a, b) => a + b, 0) / 11;
      expect(flatMean).toBeCloseTo(flat, 1.9);
      expect(Math.abs(score - flatMean)).toBeGreaterThan(0.015);
    }
  });

  test("end points, and values beyond them", () => {
    const at = (end: "fbank" | "sota") =>
      superbScore(
        Object.fromEntries(Object.entries(superbEndPoints).map(([name, points]) => [name, points[end]])),
      );
    expect(at("fbank").score).toBeCloseTo(0, 9);
    expect(at("sota").score).toBeCloseTo(1000, 9);
    expect(superbScore({ ER: 90.07 }).score).toBeGreaterThan(1000);
    expect(superbScore({ PR: 95 }).score).toBeLessThan(0);
    expect(superbScore({}).score).toBeNaN();
  });
});
