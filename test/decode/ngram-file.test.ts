import { describe, expect, it } from "vitest";
import { readArpa } from "../../src/decode/ngram.ts";
import { type ByteReader, readNgrams, writeNgrams } from "../../src/decode/ngram-file.ts";

const arpa = `\\data\\
ngram 1=5
ngram 2=4
ngram 3=2

\\1-grams:
-1.5 <unk>
-99 <s> -0.3
-1.1 </s>
-0.7 ab -0.4
-0.9 ç -0.2

\\2-grams:
-0.5 <s> ab -0.1
-0.6 ab ç -0.3
-0.4 ç </s>
-0.8 ab </s>

\\3-grams:
-0.2 <s> ab ç
-0.1 ab ç </s>

\\end\\
`;
const model = readArpa(arpa);
const chunks: Uint8Array[] = [];
writeNgrams(model, (bytes) => chunks.push(bytes.slice()));
const bytes = Buffer.concat(chunks);
const reader = (data: Uint8Array): ByteReader => ({
  path: "lm.ngram",
  size: data.length,
  read: (offset, into) => into.set(data.subarray(offset, offset + into.length)),
});

describe("a compiled language model", () => {
  it("scores every sentence as the ARPA file that it was made of", () => {
    const compiled = readNgrams(reader(bytes));
    expect(compiled.words).toEqual(model.words);
    expect([compiled.order, compiled.index("nothing")]).toEqual([3, model.index("nothing")]);
    const words = ["ab", "ç", "nothing"].map(model.index);
    for (const a of words)
      for (const b of words)
        for (const c of words) {
          let [one, two] = [model.start, compiled.start];
          for (const word of [a, b, c]) {
            const [x, y] = [model.score(one, word), compiled.score(two, word)];
            expect(y.logProb).toBe(x.logProb);
            expect(y.history.entries()).toEqual(x.history.entries());
            [one, two] = [x.history, y.history];
          }
          expect(compiled.end(two)).toBe(model.end(one));
        }
  });

  it("stores a level's arrays at aligned places, and nothing twice", () => {
    expect(bytes.length % 8).toBe(0);
    // 16 bytes an n-gram, half of it for those of the highest order, which have no back-off weight and no children.
    expect(bytes.length).toBeLessThan(200 + 16 * 9 + 8 * 2 + 8 * 12);
  });

  it("refuses what is none or is cut off", () => {
    expect(() => readNgrams(reader(Buffer.from("nothing of the kind")))).toThrow(
      /lm.ngram: is no compiled language model/,
    );
    expect(() => readNgrams(reader(bytes.subarray(0, bytes.length - 8)))).toThrow(/is cut off/);
    expect(() => readNgrams(reader(Buffer.concat([bytes, new Uint8Array(8)])))).toThrow(/should be/);
  });
});
