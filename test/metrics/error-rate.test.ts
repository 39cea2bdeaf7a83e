import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { align, characters, countEdits, errorRate, words } from "../../src/metrics/error-rate.ts";
import { fixture } from "./fixture.ts";

const reference = fixture("basic").errorRate;
const sequence = fc.array(fc.constantFrom("a", "b", "c"), { maxLength: 8 });

/** The definition, without a table. */
function distance(a: readonly string[], b: readonly string[]): number {
  if (a.length === 0 || b.length === 0) return a.length + b.length;
  const rest = distance(a.slice(1), b.slice(1)) + (a[0] === b[0] ? 0 : 1);
  if (a[0] === b[0]) return rest;
  return Math.min(rest, distance(a.slice(1), b) + 1, distance(a, b.slice(1)) + 1);
}

describe("error rate", () => {
  test("counts of each kind are jiwer's, utterance by utterance", () => {
    for (const { ref, hyp, s, d, i } of reference.pairs) {
      const counts = countEdits(ref, hyp);
      expect([counts.substitutions, counts.deletions, counts.insertions]).toEqual([s, d, i]);
    }
  });

  test("micro-averaged WER and CER are jiwer's", () => {
    const { pairs, wer, text, said, cer, textWer } = reference;
    const whole = errorRate(
      pairs.map((p: { ref: string[] }) => p.ref),
      pairs.map((p: { hyp: string[] }) => p.hyp),
    );
    expect(whole.rate).toBeCloseTo(wer, 14);
    expect(errorRate(text.map(words), said.map(words)).rate).toBeCloseTo(textWer, 14);
    expect(errorRate(text.map(characters), said.map(characters)).rate).toBeCloseTo(cer, 14);
  });

  test("as many errors as NIST's sclite finds, utterance by utterance", () => {
    // Which of them are substitutions differs where alignments tie: sclite weighs a substitution 4 and the others 3.
    const { pairs } = fixture("sclite");
    for (const { ref, hyp, s, d, i } of pairs) expect(countEdits(ref, hyp).errors).toBe(s + d + i);
    expect(pairs).toHaveLength(200);
  });

  test("an alignment spells both sequences and costs the edit distance", () => {
    fc.assert(
      fc.property(sequence, sequence, (ref, hyp) => {
        const columns = align(ref, hyp);
        expect(columns.filter((c) => c.op !== "insertion").map((c) => c.ref)).toEqual(ref);
        expect(columns.filter((c) => c.op !== "deletion").map((c) => c.hyp)).toEqual(hyp);
        for (const c of columns) expect(c.op === "match").toBe(c.ref === c.hyp);
        expect(columns.filter((c) => c.op !== "match").length).toBe(distance(ref, hyp));
      }),
      { numRuns: 150 },
    );
  });

  test("swapping the sides swaps deletions and insertions in number", () => {
    fc.assert(
      fc.property(sequence, sequence, (ref, hyp) => {
        const [there, back] = [countEdits(ref, hyp), countEdits(hyp, ref)];
        expect(there.errors).toBe(back.errors);
        expect(there.deletions - there.insertions).toBe(back.insertions - back.deletions);
      }),
    );
  });

  test("empty references", () => {
    expect(errorRate([[]], [[]])).toMatchObject({ errors: 0, rate: 0, referenceTokens: 0 });
    expect(errorRate([[]], [["a"]]).rate).toBe(Infinity);
    expect(errorRate([[], ["a"]], [["b"], ["a"]]).rate).toBe(1);
    expect(() => errorRate([["a"]], [])).toThrow("1 references but 0 hypotheses");
    expect(words("  a\tb \n")).toEqual(["a", "b"]);
  });
});
