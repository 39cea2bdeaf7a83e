import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { readBpe, trainBpe, writeBpe } from "../../src/corpus/bpe.ts";
import type { Utterance } from "../../src/corpus/manifest.ts";

const folder = mkdtempSync(join(tmpdir(), "voxsmith-bpe-"));
afterAll(() => rmSync(folder, { recursive: true }));
const say = (text: string): Utterance => ({ id: "u", audio: "/x", text });

test("merges the most frequent pairs first, ties in order of symbols", () => {
  // low x5, lower x2, newest x6, widest x3 (the example of Sennrich et al.): es, est come first.
  const text = "low ".repeat(5) + "lower ".repeat(2) + "newest ".repeat(6) + "widest ".repeat(3);
  const vocabulary = trainBpe([say(text)], 17);
  expect(vocabulary.merges.slice(0, 2)).toEqual([
    ["e", "s"],
    ["es", "t"],
  ]);
  expect(vocabulary.symbols[0]).toBe("<pad>");
  expect(vocabulary.size).toBe(17);
  const pieces = vocabulary.encode(say("lowest")).map((i) => vocabulary.symbols[i]);
  expect(pieces.at(-1)).toBe("est");
});

test("what is encoded is decoded, with fewer symbols than letters, and files bring it back", () => {
  const texts = fc.array(fc.stringMatching(/^[abcé' ]{1,40}$/u), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(texts, fc.integer({ min: 10, max: 40 }), (list, size) => {
      const corpus = [say("abc é'"), ...list.map(say)];
      const vocabulary = trainBpe(corpus, size);
      expect(vocabulary.size).toBeLessThanOrEqual(size);
      expect(trainBpe([...corpus].reverse(), size).symbols).toEqual(vocabulary.symbols);
      writeBpe(folder, vocabulary);
      const again = readBpe(folder);
      expect(again.symbols).toEqual(vocabulary.symbols);
      for (const utterance of corpus) {
        const target = vocabulary.encode(utterance);
        expect(target).not.toContain(0);
        expect(again.encode(utterance)).toEqual(target);
        expect(vocabulary.decode(target)).toBe(
          utterance.text!.normalize("NFC").split(/\s+/u).filter(Boolean).join(" "),
        );
      }
    }),
    { numRuns: 50 },
  );
});

test("refusals name what is wrong", () => {
  expect(() => trainBpe([say("abcdef")], 5)).toThrow(/a vocabulary of 5 is too small: .* are 8/);
  expect(() => trainBpe([say(" ")], 5)).toThrow(/no text in the corpus/);
  expect(() => trainBpe([say("ab")], 9).encode(say("xb"))).toThrow(/utterance "u" has the symbol "x"/);
  expect(() => trainBpe([say("ab")], 9).encode({ id: "v", audio: "/x" })).toThrow(
    /utterance "v" has no text/,
  );
  writeFileSync(join(folder, "merges.txt"), "#version: 0.2\na\n");
  expect(() => readBpe(folder)).toThrow(/merges\.txt:2: expected two pieces/);
});
