import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Utterance } from "../../src/corpus/manifest.ts";
import { sharedSpeakers, speakerFolds, splitCorpus } from "../../src/corpus/splits.ts";
import { UserError } from "../../src/errors.ts";

function corpus(speakers: { severity: number; gender: string; utterances: number }[]): Utterance[] {
  return speakers.flatMap(({ severity, gender, utterances }, s) =>
    Array.from({ length: utterances }, (_, u) => ({
      id: `s${s}-${u}`,
      audio: `/x/s${s}-${u}.wav`,
      speaker: `s${s}`,
      labels: { severity, gender },
    })),
  );
}
const speakers = fc.array(
  fc.record({
    severity: fc.integer({ min: 0, max: 4 }),
    gender: fc.constantFrom("f", "m"),
    utterances: fc.integer({ min: 1, max: 4 }),
  }),
  { minLength: 5, maxLength: 60 },
);
const spread = (counts: number[]) => Math.max(...counts) - Math.min(...counts);

describe("folds", () => {
  test("sizes, severities and severity x gender differ by at most one speaker; order and ids decide nothing else", () => {
    fc.assert(
      fc.property(speakers, fc.integer({ min: 2, max: 5 }), fc.nat(100), (list, folds, seed) => {
        const utterances = corpus(list);
        const spec = { folds, seed, stratify: ["severity", "gender"] };
        const assigned = speakerFolds(utterances, spec);
        expect(assigned.size).toBe(list.length);
        const count = (filter: (s: number) => boolean) => {
          const counts = new Array(folds).fill(0);
          list.forEach((_, s) => {
            if (filter(s)) counts[assigned.get(`s${s}`)!]++;
          });
          return counts;
        };
        expect(spread(count(() => true))).toBeLessThanOrEqual(1);
        for (let severity = 0; severity < 5; severity++) {
          expect(spread(count((s) => list[s].severity === severity))).toBeLessThanOrEqual(1);
          for (const gender of ["f", "m"]) {
            const both = (s: number) => list[s].severity === severity && list[s].gender === gender;
            expect(spread(count(both))).toBeLessThanOrEqual(1);
          }
        }
        expect(speakerFolds([...utterances].reverse(), spec)).toEqual(assigned);
      }),
    );
  });

  test("every speaker is tested exactly once over the folds, and the seed matters", () => {
    const utterances = corpus(
      Array.from({ length: 80 }, (_, s) => ({ severity: s % 5, gender: s % 2 ? "f" : "m", utterances: 10 })),
    );
    const tested: string[] = [];
    for (let fold = 0; fold < 5; fold++) {
      const split = splitCorpus(utterances, { by: "folds", folds: 5, fold, seed: 1, stratify: ["severity"] });
      expect([split.train.length, split.valid.length, split.test.length]).toEqual([480, 160, 160]);
      expect(split.speakerIndependent).toBe(true);
      expect(sharedSpeakers(split)).toEqual([]);
      tested.push(...split.test.map((u) => u.id));
    }
    expect(new Set(tested).size).toBe(800);
    const other = speakerFolds(utterances, { folds: 5, seed: 2, stratify: ["severity"] });
    expect(other).not.toEqual(speakerFolds(utterances, { folds: 5, seed: 1, stratify: ["severity"] }));
  });

  test("the most frequent value stands for a speaker", () => {
    const utterances = corpus(Array.from({ length: 4 }, () => ({ severity: 0, gender: "f", utterances: 3 })));
    utterances[0].labels = { severity: 4, gender: "f" };
    const spec = { folds: 2, seed: 3, stratify: ["severity"] };
    const uniform = corpus(Array.from({ length: 4 }, () => ({ severity: 0, gender: "f", utterances: 3 })));
    expect(speakerFolds(utterances, spec)).toEqual(speakerFolds(uniform, spec));
  });
});

describe("splits", () => {
  const six = corpus(Array.from({ length: 6 }, (_, s) => ({ severity: s % 2, gender: "f", utterances: 5 })));

  test("by field", () => {
    const names = ["train", "train", "train", "train", "dev", "test"];
    const marked = six.map((u, i) => ({ ...u, split: names[Math.floor(i / 5)] }));
    const split = splitCorpus(marked, { by: "field" });
    expect([split.train.length, split.valid.length, split.test.length]).toEqual([20, 5, 5]);
    expect(() => splitCorpus(six, { by: "field" })).toThrow(
      /utterance "s0-0" has no split field; expected train/,
    );
    const leaking = six.map((u, i) => ({ ...u, split: i % 5 === 0 ? "test" : "train" }));
    expect(() => splitCorpus(leaking, { by: "field" })).toThrow(UserError);
    expect(() => splitCorpus(leaking, { by: "field" })).toThrow(
      /speaker "s0" is in both train and test \(and 5 other speakers\)/,
    );
    expect(splitCorpus(leaking, { by: "field" }, { allowSpeakerOverlap: true }).speakerIndependent).toBe(
      false,
    );
  });

  test("by speakers", () => {
    const split = splitCorpus(six, { by: "speakers", test: ["s1"], valid: ["s2"] });
    expect(split.test.every((u) => u.speaker === "s1")).toBe(true);
    expect(split.train.length).toBe(20);
    expect(() => splitCorpus(six, { by: "speakers", test: ["nobody"] })).toThrow(
      /"nobody"; the corpus has s0, s1/,
    );
    expect(() => splitCorpus(six, { by: "speakers", test: ["s1"], valid: ["s1"] })).toThrow(
      /both test and valid/,
    );
    const all = ["s0", "s1", "s2", "s3", "s4", "s5"];
    expect(() => splitCorpus(six, { by: "speakers", test: all })).toThrow(/no utterance to train on/);
  });

  test("by chance: refused where speakers land on both sides, allowed on request, unknown without speakers", () => {
    const spec = { by: "random", valid: 0.2, test: 0.2, seed: 1 } as const;
    expect(() => splitCorpus(six, spec)).toThrow(/results would not hold for new voices/);
    const split = splitCorpus(six, spec, { allowSpeakerOverlap: true });
    expect([split.train.length, split.valid.length, split.test.length]).toEqual([18, 6, 6]);
    expect(split.speakerIndependent).toBe(false);
    const nameless = six.map(({ speaker: _, ...u }) => u);
    expect(splitCorpus(nameless, spec).speakerIndependent).toBeUndefined();
    expect(() => splitCorpus(nameless, { by: "folds", folds: 2, fold: 0, seed: 1 })).toThrow(
      /names no speaker/,
    );
    const sameFile = nameless.map((u) => ({ ...u, audio: "/x/one.wav" }));
    expect(() => splitCorpus(sameFile, spec)).toThrow(/is in both/);
  });

  test("folds that cannot be", () => {
    expect(() => splitCorpus(six, { by: "folds", folds: 7, fold: 0, seed: 1 })).toThrow(
      /7 folds need between 2 and 6/,
    );
    expect(() => splitCorpus(six, { by: "folds", folds: 3, fold: 3, seed: 1 })).toThrow(
      /fold 3 does not exist/,
    );
    expect(() => splitCorpus(six, { by: "folds", folds: 2, fold: 0, seed: 1 })).toThrow(
      /nothing to train on/,
    );
    expect(() => splitCorpus(six, { by: "folds", folds: 3, fold: 0, seed: 1, stratify: ["age"] })).toThrow(
      /has no label "age" to stratify by/,
    );
  });
});
