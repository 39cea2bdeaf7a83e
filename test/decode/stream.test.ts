import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BeamSearch, beamSearch, type Scorer } from "../../src/decode/beam.ts";
import { forcedAlign, greedyDecode, logSoftmax } from "../../src/decode/ctc.ts";
import { labelScorer, lexiconScorer } from "../../src/decode/lexicon.ts";
import { readArpa } from "../../src/decode/ngram.ts";
import { BeamStream, type CtcStream, GreedyStream } from "../../src/decode/stream.ts";
import { random } from "../../src/random.ts";
import { type Case, smallCase } from "./brute-force.ts";

const model = readArpa(`\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-99 <s> -0.3
-1.1 </s>
-0.7 x -0.2
-0.5 y -0.4
-0.9 yx

\\2-grams:
-0.2 <s> x
-0.6 x y
-0.3 y </s>

\\end\\
`);

/** Peaky logits as a trained model writes them, mostly blank: [frames, vocabulary]. */
function peaky(frames: number, vocabulary: number, seed: number): Float32Array {
  const chance = random(seed, "logits");
  return Float32Array.from({ length: frames }, () =>
    chance.next() < 0.6 ? 0 : Math.floor(chance.next() * vocabulary),
  ).reduce(
    (out, favourite, t) => {
      for (let v = 0; v < vocabulary; v++)
        out[t * vocabulary + v] = chance.normal() + (v === favourite ? 4 : 0);
      return out;
    },
    new Float32Array(frames * vocabulary),
  );
}

/** Feeds the logits in pieces, taking what is settled after each. */
function inPieces(stream: CtcStream, { logits, frames, vocabulary }: Case, sizes: readonly number[]) {
  const out = [];
  for (let at = 0, i = 0; at < frames; i++) {
    const size = Math.min(sizes[i % sizes.length], frames - at);
    stream.push(logits.subarray(at * vocabulary, (at + size) * vocabulary), size);
    out.push(...stream.take());
    at += size;
  }
  return [...out, ...stream.finish()];
}

const pieces = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 });

describe("logits that come in pieces", () => {
  test("greedy: the spans of the whole", () => {
    fc.assert(
      fc.property(smallCase(12, 4), pieces, (example, sizes) => {
        const { logits, frames, vocabulary, blank } = example;
        const stream = new GreedyStream(vocabulary, { blank });
        expect(inPieces(stream, example, sizes)).toEqual(greedyDecode(logits, frames, vocabulary, { blank }));
      }),
    );
  });

  const scorers: [string, number, () => Scorer<unknown> | undefined][] = [
    ["no scorer", 3, () => undefined],
    ["labels", 3, () => labelScorer(model, ["", "x", "y"]) as Scorer<unknown>],
    [
      "a lexicon",
      4,
      () =>
        lexiconScorer(
          [
            { word: "x", spelling: [1, 3] },
            { word: "yx", spelling: [2, 1, 3] },
          ],
          model,
          { separator: 3 },
        ) as Scorer<unknown>,
    ],
  ];

  test.each(scorers)("beam with %s: tokens, places and words of the whole", (_, vocabulary, scorer) => {
    fc.assert(
      fc.property(fc.nat(1000), fc.integer({ min: 1, max: 12 }), pieces, (seed, width, sizes) => {
        const frames = 40;
        const logits = peaky(frames, vocabulary, seed);
        const options = { width, scorer: scorer() };
        const [whole] = beamSearch(logits, frames, vocabulary, options);
        const stream = new BeamStream(new BeamSearch(vocabulary, { ...options, scorer: scorer() }));
        const spans = inPieces(stream, { logits, frames, vocabulary, blank: 0 }, sizes);
        expect(spans).toEqual(whole.spans);
        expect(spans.flatMap(({ word }) => (word === undefined ? [] : [word]))).toEqual(whole.words);
        spans.forEach(({ startFrame, endFrame }, i) => {
          expect(startFrame).toBeGreaterThanOrEqual(i > 0 ? spans[i - 1].endFrame : 0);
          expect(endFrame).toBeGreaterThan(startFrame);
        });
      }),
      { numRuns: 60 },
    );
  });

  test("a wide beam puts symbols where forced alignment puts them", () => {
    fc.assert(
      fc.property(smallCase(7, 3), (example) => {
        const { logits, frames, vocabulary, blank } = example;
        const logProbs = logSoftmax(logits, frames, vocabulary);
        const likelihood = (spans: readonly { token: number; startFrame: number; endFrame: number }[]) => {
          const path = new Array<number>(frames).fill(blank);
          for (const { token, startFrame, endFrame } of spans) path.fill(token, startFrame, endFrame);
          return path.reduce((sum, v, t) => sum + logProbs[t * vocabulary + v], 0);
        };
        for (const { tokens, spans } of beamSearch(logits, frames, vocabulary, {
          blank,
          width: 500,
          best: 5,
        })) {
          expect(spans.map(({ token }) => token)).toEqual(tokens);
          const aligned = forcedAlign(logits, frames, vocabulary, tokens, { blank });
          expect(likelihood(spans)).toBeCloseTo(likelihood(aligned), 9);
          for (const [i, { score }] of spans.entries())
            if (spans[i].startFrame === aligned[i].startFrame && spans[i].endFrame === aligned[i].endFrame)
              expect(score).toBeCloseTo(aligned[i].score, 9);
        }
      }),
      { numRuns: 60 },
    );
  });

  test("what is settled is let go: an endless recording needs no more room than a short one", () => {
    const vocabulary = 5;
    const search = new BeamSearch(vocabulary, { width: 8 });
    let symbols = 0;
    /** Objects that are reached from the search. */
    const size = () => {
      const seen = new Set<unknown>();
      const stack: unknown[] = [search];
      while (stack.length > 0) {
        const at = stack.pop();
        if (at === null || typeof at !== "object" || ArrayBuffer.isView(at) || seen.has(at)) continue;
        seen.add(at);
        stack.push(...(at instanceof Map ? at.values() : Object.values(at)));
      }
      return seen.size;
    };
    let most = 0;
    for (let piece = 0; piece < 60; piece++) {
      search.push(peaky(100, vocabulary, piece), 100);
      symbols += search.take().length;
      if (piece === 5) most = size();
    }
    expect(symbols).toBeGreaterThan(1000);
    expect(size()).toBeLessThan(2 * most + 200);
  });
});
