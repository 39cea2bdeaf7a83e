import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { formatCtm, readCtm, readRttm, readStm } from "../../src/corpus/formats/nist.ts";
import { readTable } from "../../src/corpus/formats/table.ts";
import { formatTextGrid, readAlignment, readTextGrid } from "../../src/corpus/formats/text-grid.ts";
import { foldTimitPhones, readTimitLabels } from "../../src/corpus/formats/timit.ts";
import { lookUp, readLexicon } from "../../src/corpus/lexicon.ts";

const folder = mkdtempSync(join(tmpdir(), "voxsmith-formats-"));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (content: string | Uint8Array, name = "x") => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};

describe("tables", () => {
  test("what is written with quotes is read", () => {
    const cell = fc.string({ unit: fc.constantFrom("a", "é", '"', ",", "\n", " ", "7", "\t") });
    fc.assert(
      fc.property(fc.array(fc.tuple(cell, cell), { minLength: 1 }), fc.boolean(), (rows, windows) => {
        const quoted = (value: string) => `"${value.replaceAll('"', '""')}"`;
        const lines = [["first", "second"], ...rows].map((row) => row.map(quoted).join(","));
        const table = readTable(file(lines.join(windows ? "\r\n" : "\n")));
        expect(table.rows.map(({ cells }) => [cells.first, cells.second])).toEqual(rows);
      }),
    );
  });

  test("faults have lines", () => {
    expect(() => readTable(file('a,b\n1,2\n"x\ny",2\n3'))).toThrow(/x:5: expected 2 cells \(a, b\), not 1/);
    expect(() => readTable(file('a,b\n1,"2'))).toThrow(/x:2: a quoted cell never ends/);
    expect(() => readTable(file(""))).toThrow(/the table is empty/);
    expect(() => readTable(join(folder, "none.csv"))).toThrow(/there is no such file/);
  });
});

describe("TIMIT", () => {
  // The 61 symbols of the documentation.
  const all = (
    "b d g p t k dx q jh ch s sh z zh f th v dh m n ng em en eng nx l r w y hh hv el " +
    "iy ih eh ey ae aa aw ay ah ao oy ow uh uw ux er ax ix axr ax-h pau epi h# bcl dcl gcl pcl tcl kcl"
  ).split(" ");

  test("61 phones fold to 39", () => {
    expect(all.length).toBe(61);
    expect(new Set(foldTimitPhones(all)).size).toBe(39);
    expect(foldTimitPhones(["q", "zh", "ax-h", "epi", "b"])).toEqual(["sh", "ah", "sil", "b"]);
    expect(foldTimitPhones(foldTimitPhones(all))).toEqual(foldTimitPhones(all));
  });

  test("faults have lines", () => {
    expect(() => readTimitLabels(file("0 100 h#\n100 x sh\n"))).toThrow(
      /x:2: expected "first-sample end-sample/,
    );
  });
});

describe("TextGrid", () => {
  const long = `File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2.3
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 2.3
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = ""
        intervals [2]:
            xmin = 0.5
            xmax = 2.3
            text = "say ""hi"" 2 me!"
    item [2]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 2.3
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = "sil"
        intervals [2]:
            xmin = 0.5
            xmax = 2.3
            text = "AH0"
    item [3]:
        class = "TextTier"
        name = "clicks"
        xmin = 0
        xmax = 2.3
        points: size = 1
        points [1]:
            number = 1.25
            mark = "x"
`;
  const short = `File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n2.3\n<exists>\n3\n"IntervalTier"\n"words"\n0\n2.3\n2
0\n0.5\n""\n0.5\n2.3\n"say ""hi"" 2 me!"\n"IntervalTier"\n"phones"\n0\n2.3\n2\n0\n0.5\n"sil"\n0.5\n2.3\n"AH0"
"TextTier"\n"clicks"\n0\n2.3\n1\n1.25\n"x"\n`;

  test("long and short, UTF-8 and UTF-16, are the same", () => {
    const tiers = readTextGrid(file(long));
    expect(tiers[2]).toEqual({
      name: "clicks",
      kind: "point",
      items: [{ label: "x", start: 1.25, end: 1.25 }],
    });
    expect(tiers[0].items[1]).toEqual({ label: 'say "hi" 2 me!', start: 0.5, end: 2.3 });
    expect(readTextGrid(file(short))).toEqual(tiers);
    const wide = new Uint8Array([0xff, 0xfe, ...Buffer.from(long, "utf16le")]);
    expect(readTextGrid(file(wide))).toEqual(tiers);
    expect(readTextGrid(file(long.replaceAll("\n", "\r\n")))).toEqual(tiers);
  });

  test("aligned words and phones, without silence", () => {
    expect(readAlignment(file(long))).toEqual({
      words: [{ word: 'say "hi" 2 me!', start: 0.5, end: 2.3 }],
      phones: [{ phone: "AH0", start: 0.5, end: 2.3 }],
    });
    expect(() => readAlignment(file(long.replace('"phones"', '"sounds"')))).toThrow(
      /no tier "phones"; it has words, sounds, clicks/,
    );
  });

  test("what is written is read, with silence where nothing is", () => {
    const label = fc.string({ unit: fc.constantFrom("a", "ʃ", '"', " ", "7", "<"), minLength: 1 });
    const stretch = fc.record({ label, before: fc.constantFrom(0, 0.25), lasts: fc.constantFrom(0.5, 1) });
    fc.assert(
      fc.property(fc.array(stretch, { maxLength: 4 }), (stretches) => {
        let at = 0;
        const items = stretches.map(({ label, before, lasts }) => {
          const start = at + before;
          at = start + lasts;
          return { label, start, end: at };
        });
        const [tier] = readTextGrid(
          file(formatTextGrid([{ name: 'a "tier"', kind: "interval", items }], at + 0.5)),
        );
        expect(tier.name).toBe('a "tier"');
        expect(tier.items.filter((item) => item.label !== "")).toEqual(items);
        // The intervals of a tier cover it without gaps.
        expect(tier.items.map(({ start }) => start)).toEqual(
          [0, ...tier.items.map(({ end }) => end)].slice(0, -1),
        );
        expect(tier.items.at(-1)!.end).toBe(at + 0.5);
      }),
    );
  });

  test("cut off anywhere, it is refused with a sentence", () => {
    for (let end = 0; end < short.length - 5; end += 7) {
      expect(() => readTextGrid(file(short.slice(0, end)))).toThrow(
        /not a Praat TextGrid|ends early or is damaged/,
      );
    }
  });
});

test("CTM that is written is read", () => {
  const words = [
    { recording: "r1", channel: "1", word: "ʃ", start: 0.125, end: 0.5, confidence: 0.25 },
    { recording: "r1", channel: "1", word: "b", start: 0.5, end: 1 },
  ];
  expect(readCtm(file(formatCtm(words)))).toEqual(words);
});

test("CTM, STM and RTTM", () => {
  expect(readCtm(file(";; comment\nrec 1 11.34 0.2 YES 0.98\nrec 1 12.00 0.34 YOU\n"))).toEqual([
    { recording: "rec", channel: "1", word: "YES", start: 11.34, end: 11.54, confidence: 0.98 },
    { recording: "rec", channel: "1", word: "YOU", start: 12, end: 12.34 },
  ]);
  expect(readStm(file("rec 1 spk 0.5 2 <o,f0> hello there\nrec 1 spk 2 3 no labels\n"))).toMatchObject([
    { speaker: "spk", start: 0.5, end: 2, conditions: "o,f0", text: "hello there" },
    { start: 2, end: 3, conditions: "", text: "no labels" },
  ]);
  const turns = readRttm(
    file(
      "SPEAKER a 1 0.5 2 <NA> <NA> s1 <NA> <NA>\nSPKR-INFO a 1 <NA> <NA> <NA> unknown s1 <NA>\nSPEAKER b 1 1 1 <NA> <NA> s2\n",
    ),
  );
  expect([...turns]).toEqual([
    ["a", [{ speaker: "s1", start: 0.5, end: 2.5 }]],
    ["b", [{ speaker: "s2", start: 1, end: 2 }]],
  ]);
  expect(() => readCtm(file("rec 1 x 0.2 YES\n"))).toThrow(/x:1: "x" is not a time in seconds/);
  expect(() => readStm(file("rec 1\n"))).toThrow(/x:1: expected "recording channel speaker start end/);
});

describe("lexicons", () => {
  test("the forms in use, and words of a text", () => {
    const lexicon = readLexicon(
      file(
        ";;; CMUdict\nIT'S  IH1 T S\nNOT  N AA1 T\nNOT(2)  N AO1 T\nFISH\tF IH1 SH\nthe 0.9 0.1 1.2 DH AH0\n",
      ),
    );
    expect(lexicon.get("NOT")).toEqual([
      ["N", "AA1", "T"],
      ["N", "AO1", "T"],
    ]);
    expect(lookUp("It’s not -- the fish!", lexicon).join(" ")).toBe("IH1 T S N AA1 T DH AH0 F IH1 SH");
    expect(() => lookUp("not a fish", lexicon)).toThrow(/the word "a" is not in the lexicon/);
    expect(lookUp("a fish", lexicon, (word) => [word])).toEqual(["a", "F", "IH1", "SH"]);
    expect(() => readLexicon(file("WORD\n"))).toThrow(/x:1: expected "WORD PHONE PHONE/);
  });
});
