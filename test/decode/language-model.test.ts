import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { beamSearch } from "../../src/decode/beam.ts";
import { type Entry, labelScorer, lexiconScorer, readLexicon } from "../../src/decode/lexicon.ts";
import { arpaParser, type History, type NgramModel, readArpa } from "../../src/decode/ngram.ts";
import { fixture } from "../metrics/fixture.ts";
import { type Case, sequences, smallCase } from "./brute-force.ts";

const reference = fixture("ngram");

const arpa = `\\data\\
ngram 1=6
ngram 2=5

\\1-grams:
-99 <s> -0.3
-1.1 </s>
-0.7 x -0.2
-0.5 y -0.4
-0.9 yx
-1.6 xx -0.1

\\2-grams:
-0.2 <s> x
-0.6 x y
-1.4 y yx
-0.3 y </s>
-0.8 xx x

\\end\\
`;
const model = readArpa(arpa);

/** Natural log probability of a sentence, its end included. */
function sentence(lm: NgramModel, words: readonly string[]): number {
  let history: History = lm.start;
  let total = 0;
  for (const word of words) {
    const step = lm.score(history, lm.index(word));
    total += step.logProb;
    history = step.history;
  }
  return total + lm.end(history);
}

describe("n-gram model", () => {
  test("every word's probability is KenLM's, unknown words and unseen histories included", () => {
    const lm = readArpa(reference.arpa);
    expect(lm.order).toBe(3);
    reference.sentences.forEach((words: string[], i: number) => {
      let history = lm.start;
      const log10 = words.map((word) => {
        const step = lm.score(history, lm.index(word));
        history = step.history;
        return step.logProb / Math.LN10;
      });
      log10.push(lm.end(history) / Math.LN10);
      log10.forEach((value, k) => {
        expect(value).toBeCloseTo(reference.log10[i][k], 5);
      });
    });
  });

  test("back-off by hand", () => {
    // p(x | <s>) p(yx | x): back-off of x, then the 1-gram; p(</s> | yx): no back-off weight.
    expect(sentence(model, ["x", "yx"]) / Math.LN10).toBeCloseTo(-0.2 + (-0.2 - 0.9) + -1.1, 5);
    // A word the model does not know, without <unk>, costs 10^-100 and cuts the history.
    expect(sentence(model, ["q", "y"]) / Math.LN10).toBeCloseTo(-0.3 - 100 + -0.5 + -0.3, 4);
  });

  test("a broken file is named with its line", () => {
    const broken = (from: string, to: string) => () => readArpa(arpa.replace(from, to), "lm.arpa");
    expect(broken("-0.6 x y", "-0.6 x q")).toThrow('lm.arpa, line 15: "q" is not among the 1-grams');
    expect(broken("-0.6 x y", "-0.6 x")).toThrow("lm.arpa, line 15: expected a probability, 2 words");
    expect(broken("-0.6 x y", "z x y")).toThrow("lm.arpa, line 15");
    expect(broken("ngram 2=5", "ngram 2=6")).toThrow("5 2-grams are listed, the header announces 6");
    expect(broken("ngram 2=5", "ngram 2=4")).toThrow("more 2-grams than the 4 announced");
    expect(broken("\\end\\", "")).toThrow("not a whole ARPA file");
    expect(broken("-0.9 yx", "-0.9 x")).toThrow('the word "x" is listed twice');
    const trigrams = arpa
      .replace("ngram 2=5", "ngram 2=5\nngram 3=1")
      .replace("\\end\\", "\\3-grams:\n-1 yx x y\n\n\\end\\");
    expect(() => readArpa(trigrams)).toThrow('the beginning of "yx x" is not among the 2-grams');
    const fed = arpaParser();
    for (const line of arpa.split("\n")) fed.line(line);
    expect(fed.finish().words).toEqual(model.words);
  });
});

describe("beam search with a language model", () => {
  const alphabet = (vocabulary: number, blank: number) =>
    Array.from({ length: vocabulary }, (_, v) =>
      v === blank ? "" : ["x", "y", "yx"][v > blank ? v - 1 : v],
    );

  test("without a lexicon: the best of all label sequences", () => {
    fc.assert(
      fc.property(smallCase(5, 4), fc.double({ min: 0, max: 2, noNaN: true }), (example, weight) => {
        const { logits, frames, vocabulary, blank } = example;
        const symbols = alphabet(vocabulary, blank);
        const scorer = labelScorer(model, symbols, { weight, labelScore: 0.3 });
        const [found] = beamSearch(logits, frames, vocabulary, { blank, width: 2000, scorer });
        let best = -Infinity;
        for (const [key, acoustic] of sequences(example)) {
          const tokens = key === "" ? [] : key.split(" ").map(Number);
          const lm = sentence(
            model,
            tokens.map((v) => symbols[v]),
          );
          best = Math.max(best, acoustic + weight * lm + 0.3 * tokens.length);
        }
        expect(found.score).toBeCloseTo(best, 9);
      }),
      { numRuns: 60 },
    );
  });

  // Vocabulary: blank 0, a 1, b 2, | 3. Homophones x and xx; y is the beginning of yx; x has two spellings.
  const entries: Entry[] = [
    { word: "x", spelling: [1, 3] },
    { word: "xx", spelling: [1, 3] },
    { word: "y", spelling: [2, 3] },
    { word: "yx", spelling: [2, 1, 3] },
    { word: "x", spelling: [1, 1, 3] },
  ];

  /** Every way to read tokens as words, separators between words being free and the last one optional. */
  function* readings(
    tokens: readonly number[],
    from: readonly Entry[],
    separator?: number,
  ): Generator<string[]> {
    if (tokens.length === 0) yield [];
    if (separator !== undefined && tokens[0] === separator) yield* readings(tokens.slice(1), from, separator);
    for (const { word, spelling } of from) {
      if (spelling.every((v, i) => tokens[i] === v))
        for (const rest of readings(tokens.slice(spelling.length), from, separator)) yield [word, ...rest];
      const open = spelling.slice(0, -1);
      if (separator !== undefined && spelling.at(-1) === separator && open.join() === tokens.join())
        yield [word];
    }
  }

  function bestReading(
    example: Case,
    from: readonly Entry[],
    weight: number,
    wordScore: number,
    separator?: number,
  ) {
    let best = { score: -Infinity, words: [] as string[] };
    for (const [key, acoustic] of sequences(example)) {
      const tokens = key === "" ? [] : key.split(" ").map(Number);
      for (const words of readings(tokens, from, separator)) {
        const score = acoustic + weight * sentence(model, words) + wordScore * words.length;
        if (score > best.score) best = { score, words };
      }
    }
    return best;
  }

  const fourSymbols = (maxFrames: number) =>
    fc
      .integer({ min: 1, max: maxFrames })
      .chain((frames) =>
        fc
          .array(fc.float({ min: -4, max: 4, noNaN: true }), { minLength: 4 * frames, maxLength: 4 * frames })
          .map((values): Case => ({ frames, vocabulary: 4, blank: 0, logits: Float32Array.from(values) })),
      );

  test("with a lexicon: the best of all word sequences", () => {
    fc.assert(
      fc.property(
        fourSymbols(6),
        fc.constantFrom(undefined, 3),
        fc.constantFrom(-1, 0.7),
        (example, separator, wordScore) => {
          const scorer = lexiconScorer(entries, model, { weight: 0.8, wordScore, separator });
          const [found] = beamSearch(example.logits, example.frames, 4, { width: 4000, scorer });
          const best = bestReading(example, entries, 0.8, wordScore, separator);
          expect(found.score).toBeCloseTo(best.score, 8);
          expect(found.words.map((n) => scorer.words[n])).toEqual(best.words);
        },
      ),
      { numRuns: 50 },
    );
  });

  test("without a separator words follow each other directly (phonemes)", () => {
    const phones = entries.map(({ word, spelling }) => ({ word, spelling: spelling.slice(0, -1) }));
    fc.assert(
      fc.property(fourSymbols(5), (example) => {
        const scorer = lexiconScorer(phones, model, { weight: 0.5, wordScore: 0.2 });
        const [found] = beamSearch(example.logits, example.frames, 4, { width: 4000, scorer });
        expect(found.score).toBeCloseTo(bestReading(example, phones, 0.5, 0.2).score, 8);
      }),
      { numRuns: 40 },
    );
  });

  test("a hypothesis inside a word is taken only where there is no other", () => {
    const scorer = lexiconScorer([{ word: "yx", spelling: [2, 1] }], model);
    const certain = [-9, -9, 9, -9];
    const [found] = beamSearch(certain, 1, 4, { width: 1, scorer });
    expect(found).toMatchObject({ tokens: [2], words: [] });
    expect(beamSearch(certain, 1, 4, { width: 5, scorer })[0].tokens).toEqual([]);
  });

  test("lexicons are read with the line of a fault", () => {
    const symbols = ["", "a", "b", "|"];
    expect(readLexicon(["x a |", "", "yx\tb a |"], symbols)).toEqual([entries[0], entries[3]]);
    expect(() => readLexicon(["x a |", "y q |"], symbols, "lexicon.txt")).toThrow(
      'lexicon.txt, line 2: "q" is not a label of the model',
    );
    expect(() => readLexicon(["x"], symbols, "lexicon.txt")).toThrow('line 1: "x" has no spelling');
    expect(() => lexiconScorer([{ word: "x", spelling: [3, 1] }], model, { separator: 3 })).toThrow(
      "begins with the separator",
    );
  });
});
