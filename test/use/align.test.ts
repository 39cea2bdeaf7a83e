import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readCtm } from "../../src/corpus/formats/nist.ts";
import { readAlignment, readTextGrid } from "../../src/corpus/formats/text-grid.ts";
import { type Phone, readManifest, type Utterance } from "../../src/corpus/manifest.ts";
import { UserError } from "../../src/errors.ts";
import { Aligner } from "../../src/use/align.ts";
import { voxsmith } from "../cli-data/voxsmith.ts";
import { toneCorpus, toneLexicon, toneRun } from "./tone-corpus.ts";

const scratch = mkdtempSync(join(tmpdir(), "align-"));
const corpus = toneCorpus();
let run: string;
let aligner: Aligner;
const utterances = readManifest(corpus.manifest);
const symbols = (u: Utterance) => (u.phones as Phone[]).map(({ phone }) => phone);

beforeAll(async () => {
  run = await toneRun(corpus);
  aligner = await Aligner.open(run, { threads: 1 });
}, 60_000);
afterAll(() => aligner.dispose());

describe("alignment", () => {
  test("phones are found where they were put", async () => {
    for (const utterance of utterances) {
      const { phones, seconds } = await aligner.align({ ...utterance, phones: symbols(utterance) });
      expect(seconds).toBeCloseTo(1.4, 6);
      expect(phones.map(({ phone }) => phone)).toEqual(symbols(utterance));
      const known = utterance.phones as Phone[];
      for (const [i, { start, end, score }] of phones.entries()) {
        // Windows of 25 ms see a tone that much too early and too late.
        expect(Math.abs(start - known[i].start)).toBeLessThan(0.04);
        expect(Math.abs(end - known[i].end)).toBeLessThan(0.04);
        expect(score).toBeGreaterThan(0);
        expect(score).toBeLessThanOrEqual(1);
        if (i > 0) expect(start).toBeGreaterThanOrEqual(phones[i - 1].end);
      }
    }
  });

  test("what is heard freely does not depend on what should have been said", async () => {
    for (const utterance of utterances) {
      const heard = await aligner.recognise(utterance);
      // The edges of tones sound like other tones, so there is more than what was put there, but nothing is missing.
      let at = 0;
      const found = symbols(utterance).filter((phone) => {
        const place = heard.indexOf(phone, at);
        if (place >= 0) at = place + 1;
        return place >= 0;
      });
      expect(found).toEqual(symbols(utterance));
      const told = { ...utterance, phones: ["uw", "uw"] };
      expect((await aligner.align(told)).phones.map(({ phone }) => phone)).toEqual(told.phones);
      expect(await aligner.recognise(told)).toEqual(heard);
    }
  });

  test("parts of recordings", async () => {
    const [first] = utterances;
    const known = first.phones as Phone[];
    const cut = (known[0].end + known[1].start) / 2;
    const rest = { ...first, start: cut, phones: symbols(first).slice(1) };
    const { phones, seconds } = await aligner.align(rest);
    expect(seconds).toBeCloseTo(1.4 - cut, 3);
    expect(Math.abs(phones[0].start - (known[1].start - cut))).toBeLessThan(0.04);
  });

  test.each<[string, Partial<Utterance>, RegExp]>([
    [
      "nothing to say",
      { phones: undefined },
      /"s0-0" has neither phones nor text: there is nothing to align/,
    ],
    [
      "text without a lexicon",
      { phones: undefined, text: "see" },
      /a lexicon or an espeak-ng voice is needed/,
    ],
    [
      "a symbol it does not know",
      { phones: ["zz"] },
      /"s0-0".* has the symbol "zz", which is not in the voc/,
    ],
    ["too much to say", { phones: Array(400).fill("aa") }, /"s0-0": cannot align: 400 symbols with 399 rep/],
    ["no file", { audio: join(scratch, "gone.wav") }, /gone\.wav/],
  ])("%s: a sentence", async (_, change, message) => {
    const bad = aligner.align({ ...utterances[0], ...change });
    await expect(bad).rejects.toThrow(UserError);
    await expect(bad).rejects.toThrow(message);
  });
});

describe("voxsmith align", () => {
  const at = (name: string) => join(scratch, name);

  test("a manifest, with how far it is from the times that are there", async () => {
    const { status, stdout } = await voxsmith(
      scratch,
      ...["align", corpus.manifest, "--model", run, "--out", "aligned.jsonl", "--json"],
    );
    expect(status).toBe(0);
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({
      out: "aligned.jsonl",
      utterances: 16,
      skipped: [],
      within50msPercent: 100,
    });
    expect(result.medianMs).toBeLessThan(25);
    const written = readManifest(at("aligned.jsonl"));
    expect(written.map(symbols)).toEqual(utterances.map(symbols));
  }, 60_000);

  test("texts and a lexicon: words and phones as TextGrids and CTM; what cannot be aligned is listed", async () => {
    writeFileSync(at("lexicon.txt"), toneLexicon);
    const lines = [
      { ...utterances[0], phones: undefined, id: "x/0", text: "Sue ah", words: undefined },
      { ...utterances[1], phones: undefined, id: "x1", text: "see unheard" },
    ];
    writeFileSync(at("said.jsonl"), lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
    const common = ["align", "said.jsonl", "--model", run, "--lexicon", "lexicon.txt", "--json"];
    const [grids, ctm] = await Promise.all([
      voxsmith(scratch, ...common, "--out", "grids"),
      voxsmith(scratch, ...common, "--out", "said.ctm"),
    ]);
    expect([grids.status, ctm.status]).toEqual([0, 0]);
    expect(JSON.parse(grids.stdout).skipped).toEqual([
      { id: "x1", message: expect.stringMatching(/"x1": the word "unheard" is not in the lexicon/) },
    ]);
    expect(readdirSync(at("grids"))).toEqual(["x_0.TextGrid"]);
    const { words, phones } = readAlignment(at("grids/x_0.TextGrid"));
    expect(words.map(({ word }) => word)).toEqual(["Sue", "ah"]);
    expect(phones.map(({ phone }) => phone)).toEqual(["s", "uw", "aa"]);
    expect(words[0]).toMatchObject({ start: phones[0].start, end: phones[1].end });
    const [tier] = readTextGrid(at("grids/x_0.TextGrid"));
    expect([tier.items[0].start, tier.items.at(-1)!.end]).toEqual([0, 1.4]);
    const lasting = readCtm(at("said.ctm"));
    expect(lasting.map(({ recording, word }) => [recording, word])).toEqual(
      ["s", "uw", "aa"].map((phone) => ["x/0", phone]),
    );
    expect(lasting[0].start).toBeCloseTo(phones[0].start, 2);
  }, 60_000);

  test("a single recording, and its phones for the clinical features", async () => {
    const { audio } = utterances[0];
    const { status } = await voxsmith(
      scratch,
      ...[
        "align",
        audio,
        "--model",
        run,
        "--phones",
        symbols(utterances[0]).join(" "),
        "--out",
        "one.TextGrid",
      ],
    );
    expect(status).toBe(0);
    expect(readFileSync(at("one.TextGrid"), "utf8")).toContain('name = "phones"');
    // Without times in the manifest, rhythm comes from the alignment and pronunciation from what is heard.
    const bare = utterances.slice(0, 4).map((u) => ({ ...u, phones: [...symbols(u), "s"] }));
    writeFileSync(at("bare.jsonl"), bare.map((line) => `${JSON.stringify(line)}\n`).join(""));
    const table = await voxsmith(
      scratch,
      ...["features", "bare.jsonl", "--set", "clinical", "--model", run, "--threads", "1", "--json"],
    );
    expect(table.status).toBe(0);
    const rows: Record<string, number>[] = JSON.parse(table.stdout).table;
    expect(rows).toHaveLength(4);
    for (const [i, row] of rows.entries()) {
      expect(row.percentV).toBeGreaterThan(0);
      // One phone more was asked for than was said.
      const said = symbols(utterances[i]).length;
      expect(row.pct).toBeCloseTo((100 * said) / (said + 1), 6);
    }
  }, 60_000);

  test.each<[string[], RegExp]>([
    [
      ["align", "AUDIO", "--model", "RUN", "--out", "x.TextGrid"],
      /what is said in it is not known; give --text/,
    ],
    [
      ["align", "AUDIO", "--text", "ah", "--head", "x", "--model", "RUN", "--out", "x.ctm"],
      /no CTC head "x"/,
    ],
  ])(
    "%j: one sentence and status 2",
    async (args, message) => {
      const { audio } = utterances[0];
      const filled = args.map((arg) => (arg === "RUN" ? run : arg === "AUDIO" ? audio : arg));
      const { status, said } = await voxsmith(scratch, ...filled);
      expect([status, said.length]).toEqual([2, 1]);
      expect(said[0]).toMatch(message);
    },
    60_000,
  );
});
