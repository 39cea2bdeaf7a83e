import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { beamSearch } from "../../src/decode/beam.ts";
import {
  type CtcSpan,
  fillGaps,
  forcedAlign,
  frameSeconds,
  greedyDecode,
  logSoftmax,
} from "../../src/decode/ctc.ts";
import { type Case, paths, sequences, smallCase } from "./brute-force.ts";

const tokensOf = (spans: { token: number }[]) => spans.map((span) => span.token);

/** Logits whose best path is `path`, each frame with posterior 0.9. */
function certain(path: number[], vocabulary: number): Float32Array {
  const logits = new Float32Array(path.length * vocabulary).fill(Math.log(0.1 / (vocabulary - 1)));
  path.forEach((v, t) => {
    logits[t * vocabulary + v] = Math.log(0.9);
  });
  return logits;
}

/** Log probability of the path that spans describe, blanks between them. */
function pathScore(spans: CtcSpan[], { logits, frames, vocabulary, blank }: Case): number {
  const path = new Array<number>(frames).fill(blank);
  for (const { token, startFrame, endFrame } of spans) path.fill(token, startFrame, endFrame);
  const logProbs = logSoftmax(logits, frames, vocabulary);
  return path.reduce((sum, v, t) => sum + logProbs[t * vocabulary + v], 0);
}

describe("greedy decoding", () => {
  test("merges repeats, drops blanks, tells frames, symbols and scores", () => {
    const spans = greedyDecode(certain([0, 1, 1, 0, 1, 2, 2], 3), 7, 3, { symbols: ["", "a", "b"] });
    expect(spans.map(({ symbol, startFrame, endFrame }) => [symbol, startFrame, endFrame])).toEqual([
      ["a", 1, 3],
      ["a", 4, 5],
      ["b", 5, 7],
    ]);
    for (const { score } of spans) expect(score).toBeCloseTo(0.9, 6);
    expect(frameSeconds(50)).toBe(1);
  });

  test("the blank may be any index, and no frames give nothing", () => {
    expect(tokensOf(greedyDecode(certain([2, 0, 2, 0, 1], 3), 5, 3, { blank: 2 }))).toEqual([0, 0, 1]);
    expect(greedyDecode([], 0, 5)).toEqual([]);
    expect(() => greedyDecode([1, 2, 3], 1, 2)).toThrow("3 logits are not 1 frames of 2");
  });

  test("is the most probable path", () => {
    fc.assert(
      fc.property(smallCase(5, 3), (example) => {
        const { logits, frames, vocabulary, blank } = example;
        const best = Math.max(...[...paths(example)].map(({ probability }) => probability));
        const spans = greedyDecode(logits, frames, vocabulary, { blank });
        expect(pathScore(spans, example)).toBeCloseTo(Math.log(best), 9);
      }),
      { numRuns: 60 },
    );
  });
});

describe("forced alignment", () => {
  test("is the most probable path that spells the target", () => {
    fc.assert(
      fc.property(smallCase(6, 3), fc.nat(1000), (example, pick) => {
        const { logits, frames, vocabulary, blank } = example;
        const all = [...paths(example)];
        const target = all[pick % all.length].tokens;
        const fitting = all.filter(({ tokens }) => tokens.join() === target.join());
        const best = Math.max(...fitting.map(({ probability }) => probability));
        const spans = forcedAlign(logits, frames, vocabulary, target, { blank });
        expect(tokensOf(spans)).toEqual(target);
        expect(pathScore(spans, example)).toBeCloseTo(Math.log(best), 9);
      }),
      { numRuns: 80 },
    );
  });

  test("says why a target cannot be aligned", () => {
    const logits = new Float32Array(9);
    expect(() => forcedAlign(logits, 3, 3, [1, 1, 2])).toThrow(
      "3 symbols with 1 repeated in a row need at least 4 frames, the recording has 3",
    );
    expect(forcedAlign(logits, 3, 3, [1, 1]).map((s) => [s.startFrame, s.endFrame])).toEqual([
      [0, 1],
      [2, 3],
    ]);
    expect(() => forcedAlign(logits, 3, 3, [0])).toThrow("contains the blank");
    expect(() => forcedAlign(logits, 3, 3, [7])).toThrow("target index 7 is outside the vocabulary of 3");
    expect(forcedAlign(logits, 3, 3, [])).toEqual([]);
  });
});

describe("stretches of symbols", () => {
  const span = (startFrame: number, endFrame: number): CtcSpan => ({
    ...{ token: 1, symbol: "a", score: 1 },
    ...{ startFrame, endFrame },
  });
  const bounds = (spans: CtcSpan[]) => spans.map(({ startFrame, endFrame }) => [startFrame, endFrame]);

  test("neighbours share the blanks between them, within reach and outside silence", () => {
    const spans = [span(3, 4), span(7, 8), span(20, 21)];
    expect(bounds(fillGaps(spans, 24, 100))).toEqual([
      [0, 5.5],
      [5.5, 14],
      [14, 24],
    ]);
    expect(bounds(fillGaps(spans, 24, 2))).toEqual([
      [1, 5.5],
      [5.5, 10],
      [18, 23],
    ]);
    const silent = (frame: number) => frame < 2 || (frame >= 9 && frame < 19) || frame >= 22;
    expect(bounds(fillGaps(spans, 24, 100, silent))).toEqual([
      [2, 5.5],
      [5.5, 9],
      [19, 22],
    ]);
  });

  test("never overlap, and hold their peaks", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(4), fc.integer({ min: 1, max: 3 })), { maxLength: 6 }),
        fc.nat(5),
        (gaps, reach) => {
          let at = 0;
          const spans = gaps.map(([gap, lasts]) => {
            at += gap + lasts;
            return span(at - lasts, at);
          });
          const filled = fillGaps(spans, at + 2, reach);
          for (const [i, { startFrame, endFrame }] of filled.entries()) {
            expect(startFrame).toBeLessThanOrEqual(spans[i].startFrame);
            expect(endFrame).toBeGreaterThanOrEqual(spans[i].endFrame);
            expect(startFrame).toBeGreaterThanOrEqual(filled[i - 1]?.endFrame ?? 0);
            expect(endFrame).toBeLessThanOrEqual(at + 2);
          }
        },
      ),
    );
  });
});

describe("prefix beam search", () => {
  test("with a wide beam finds every sequence with its exact probability", () => {
    fc.assert(
      fc.property(smallCase(5, 3), (example) => {
        const { logits, frames, vocabulary, blank } = example;
        const exact = sequences(example);
        const found = beamSearch(logits, frames, vocabulary, { blank, width: 1000, best: 1000 });
        expect(found.length).toBe(exact.size);
        for (const { tokens, acoustic, score } of found) {
          expect(acoustic).toBeCloseTo(exact.get(tokens.join(" "))!, 9);
          expect(score).toBe(acoustic);
        }
      }),
      { numRuns: 60 },
    );
  });

  test("a narrow beam never claims more than the exact probability, and best first", () => {
    fc.assert(
      fc.property(smallCase(6, 4), fc.integer({ min: 1, max: 6 }), (example, width) => {
        const { logits, frames, vocabulary, blank } = example;
        const exact = sequences(example);
        const found = beamSearch(logits, frames, vocabulary, { blank, width, best: width });
        expect(found.length).toBeLessThanOrEqual(width);
        expect(new Set(found.map(({ tokens }) => tokens.join(" "))).size).toBe(found.length);
        found.forEach(({ tokens, acoustic }, i) => {
          expect(acoustic).toBeLessThanOrEqual(exact.get(tokens.join(" "))! + 1e-9);
          if (i > 0) expect(acoustic).toBeLessThanOrEqual(found[i - 1].acoustic);
        });
      }),
      { numRuns: 60 },
    );
  });

  test("sums paths where the best single path misleads", () => {
    // Both frames: blank 0.6, a 0.4. Best path: nothing (0.36); best sequence: a (0.64).
    const logits = [0.6, 0.4, 0.6, 0.4].map(Math.log);
    expect(greedyDecode(logits, 2, 2)).toEqual([]);
    const [first] = beamSearch(logits, 2, 2);
    expect(first.tokens).toEqual([1]);
    expect(first.score).toBeCloseTo(Math.log(0.64), 12);
  });

  test("the reference likelihoods of the severity paper's notes", () => {
    const uniform = (frames: number, vocabulary: number) => new Float32Array(frames * vocabulary);
    const nll = (frames: number, vocabulary: number, target: number[]) =>
      -beamSearch(uniform(frames, vocabulary), frames, vocabulary, { width: 5000, best: 5000 }).find(
        ({ tokens }) => tokens.join() === target.join(),
      )!.score;
    expect(nll(3, 3, [1])).toBeCloseTo(1.5040773967762742, 12);
    expect(nll(4, 3, [1, 2])).toBeCloseTo(1.6863989535702288, 12);
    expect(nll(4, 3, [1, 1])).toBeCloseTo(2.7850112422383386, 12);
    expect(nll(5, 4, [1, 2, 3])).toBeCloseTo(3.5992672954242493, 12);
  });
});
