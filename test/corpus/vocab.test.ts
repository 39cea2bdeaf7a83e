import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import type { Utterance } from "../../src/corpus/manifest.ts";
import {
  buildLabels,
  buildVocabulary,
  readVocabulary,
  withoutStress,
  writeVocabulary,
} from "../../src/corpus/vocab.ts";

const folder = mkdtempSync(join(tmpdir(), "voxsmith-vocab-"));
afterAll(() => rmSync(folder, { recursive: true }));
const say = (text: string, more: Partial<Utterance> = {}): Utterance => ({
  id: "u",
  audio: "/x",
  text,
  ...more,
});

describe("characters", () => {
  test("blank 0, | between words, symbols in order", () => {
    const vocabulary = buildVocabulary([say("it's not  fish")], { unit: "characters" });
    expect(vocabulary.symbols).toEqual(["<pad>", "|", "'", "f", "h", "i", "n", "o", "s", "t"]);
    const target = vocabulary.encode(say(" fish  not"));
    expect(target.map((i) => vocabulary.symbols[i]).join("")).toBe("fish|not");
    expect(vocabulary.decode(target)).toBe("fish not");
    expect(vocabulary.decode([0, 3, 0, 5, 1, 1])).toBe("fi");
  });

  test("what is encoded is decoded", () => {
    const texts = fc.array(fc.stringMatching(/^[a-zà-ÿ' ]{0,30}$/u), { minLength: 1 });
    fc.assert(
      fc.property(texts, fc.nat(2), (list, blank) => {
        const corpus = [say("ab"), ...list.map((text) => say(text))];
        const vocabulary = buildVocabulary(corpus, { unit: "characters", blank });
        expect(vocabulary.symbols[blank]).toBe("<pad>");
        for (const utterance of corpus) {
          const target = vocabulary.encode(utterance);
          expect(target).not.toContain(blank);
          expect(vocabulary.decode(target)).toBe(
            utterance.text!.normalize("NFC").split(/\s+/u).filter(Boolean).join(" "),
          );
        }
      }),
    );
  });

  test("letter case, and symbols outside the vocabulary", () => {
    const vocabulary = buildVocabulary([say("Ab")], { unit: "characters", letterCase: "upper" });
    expect(vocabulary.encode(say("ba"))).toEqual([3, 2]);
    expect(() => vocabulary.encode(say("abc", { id: "u17" }))).toThrow(
      /utterance "u17" has the symbol "C", which is not in the vocabulary of 4 symbols/,
    );
    const lenient = buildVocabulary([say("ab")], { unit: "characters", unknown: true });
    expect(lenient.symbols).toEqual(["<pad>", "<unk>", "|", "a", "b"]);
    expect(lenient.encode(say("axb"))).toEqual([3, 1, 4]);
    expect(lenient.decode([3, 1, 4])).toBe("ab");
  });
});

describe("phones and tokens", () => {
  test("phones of both forms, with and without stress", () => {
    const bare = say("", { phones: ["DH", "AH0", "k", "ˈaʊ"] });
    const timed = say("", { phones: [{ phone: "AH1", start: 0, end: 0.1 }] });
    const vocabulary = buildVocabulary([bare, timed], { unit: "phones", dropStress: true });
    expect(vocabulary.symbols).toEqual(["<pad>", "AH", "DH", "aʊ", "k"]);
    expect(vocabulary.encode(timed)).toEqual([1]);
    expect(vocabulary.decode([2, 1, 0, 3])).toBe("DH AH aʊ");
    expect(buildVocabulary([bare], { unit: "phones" }).symbols).toContain("AH0");
    expect(() => vocabulary.encode(say("x"))).toThrow(/utterance "u" has no phones/);
    expect(["AA1", "ER0", "ma5", "ˌi", "T"].map(withoutStress)).toEqual(["AA", "ER", "ma5", "i", "T"]);
  });

  test("multi-character tokens of the text survive", () => {
    const vocabulary = buildVocabulary([say("kk a  ng")], { unit: "tokens" });
    expect(vocabulary.symbols).toEqual(["<pad>", "a", "kk", "ng"]);
    expect(vocabulary.decode(vocabulary.encode(say("ng kk")))).toBe("ng kk");
  });

  test("reserved symbols and empty corpora are refused", () => {
    expect(() => buildVocabulary([say("a <pad>")], { unit: "tokens" })).toThrow(/"<pad>" is reserved/);
    expect(() => buildVocabulary([say(" ")], { unit: "tokens" })).toThrow(/no tokens in the corpus/);
    expect(() => buildVocabulary([say("a")], { unit: "tokens", blank: 3 })).toThrow(/between 0 and 1/);
  });
});

describe("vocab.json", () => {
  const path = join(folder, "vocab.json");

  test("is written and read, whatever the order", () => {
    const vocabulary = buildVocabulary([say("no 1 knows")], { unit: "characters", blank: 2 });
    writeVocabulary(path, vocabulary);
    expect(JSON.parse(readFileSync(path, "utf8"))["<pad>"]).toBe(2);
    const again = readVocabulary(path, { unit: "characters" });
    expect(again.symbols).toEqual(vocabulary.symbols);
    expect(again.blank).toBe(2);
  });

  test("Hugging Face's own form reads", () => {
    const theirs = { "<s>": 1, "<pad>": 0, "</s>": 2, "<unk>": 3, "|": 4, E: 5, T: 6 };
    writeFileSync(path, JSON.stringify(theirs));
    const vocabulary = readVocabulary(path, { unit: "characters", letterCase: "upper" });
    expect(vocabulary.blank).toBe(0);
    expect(vocabulary.encode(say("te et"))).toEqual([6, 5, 4, 5, 6]);
    expect(vocabulary.decode([1, 6, 5, 4, 2])).toBe("TE");
  });

  test.each([
    ["{", /not a JSON file/],
    ["[]", /expected an object of symbols and indices/],
    ['{"<pad>": 0, "a": 0}', /the index of "a" must be a whole number of its own/],
    ['{"<pad>": 0, "a": 2}', /no symbol has the index 1/],
    ['{"a": 0}', /no "<pad>" symbol to serve as the CTC blank/],
  ])("%s is refused", (content, message) => {
    writeFileSync(path, content);
    expect(() => readVocabulary(path, { unit: "tokens" })).toThrow(message);
  });
});

describe("labels", () => {
  const corpus = ["10", "2", "0"].map((digit, i) => say("", { id: `u${i}`, labels: { digit } }));

  test("classes in natural order, numbers and strings alike", () => {
    const labels = buildLabels([...corpus, say("", { labels: { digit: 7 } })], "digit");
    expect(labels.classes).toEqual(["0", "2", "7", "10"]);
    expect(labels.encode(corpus[0])).toBe(3);
  });

  test("a label that is missing or outside is refused with the utterance's name", () => {
    const labels = buildLabels(corpus, "digit");
    expect(() => labels.encode(say("", { id: "v", labels: { digit: "9" } }))).toThrow(
      /utterance "v" has digit "9", which is none of the classes 0, 2, 10/,
    );
    expect(() => buildLabels(corpus, "digits")).toThrow(/"u0" has no label "digits"; did you mean "digit"\?/);
    expect(() => buildLabels(corpus, "digit", ["0", "2"])).toThrow(/"u0" has digit "10"/);
  });
});
