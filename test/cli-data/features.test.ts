import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { clinicalNames } from "../../src/audio/acoustics/clinical/clinical.ts";
import { egemaps, egemapsDescriptors } from "../../src/audio/acoustics/egemaps.ts";
import { readAudio } from "../../src/audio/file.ts";
import { referenceDir } from "../shared.ts";
import { voxsmith, writeVoice } from "./voxsmith.ts";

const folder = mkdtempSync(join(tmpdir(), "features-"));
const run = (...args: string[]) => voxsmith(folder, "features", ...args);
const read = (name: string) => readFileSync(join(folder, name), "utf8");
/** Cells by line; none of them is quoted. */
const cells = (text: string) =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => line.split(","));

beforeAll(() => {
  mkdirSync(join(folder, "speech"));
  mkdirSync(join(folder, "empty"));
  for (const seed of [1, 2, 3]) writeVoice(join(folder, "speech", `v${seed}.wav`), seed);
  writeVoice(join(folder, "slow.wav"), 4, 0.8, 8000);
  writeVoice(join(folder, "cut.wav"), 5);
  truncateSync(join(folder, "cut.wav"), 30);
  writeVoice(join(folder, "short.wav"), 6, 0.03);
  writeFileSync(join(folder, "text.wav"), "no sound at all");
  const timed = [
    { phone: "n", start: 0, end: 0.2 },
    { phone: "aa", start: 0.2, end: 0.4 },
    { phone: "t", start: 0.4, end: 0.5 },
    { phone: "iy", start: 0.5, end: 0.7 },
  ];
  const lines = [
    { id: "a", audio: "speech/v1.wav", phones: timed },
    { id: "b", audio: "speech/v2.wav", start: 0.1, end: 0.7, phones: ["n", "aa", "t", "iy"] },
  ];
  writeFileSync(join(folder, "manifest.jsonl"), lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  writeFileSync(join(folder, "broken.jsonl"), `${JSON.stringify(lines[0])}\nnot json\n`);
  const predictions = ["a", "b"].map((id) => ({
    id,
    part: "test",
    answers: {
      severity: { kind: "class", truth: "0", predicted: "0", probabilities: {} },
      phonemes: { kind: "sequence", expected: [], heard: ["n", "aa", "d", "iy"], text: {} },
    },
  }));
  writeFileSync(join(folder, "predictions.jsonl"), predictions.map((p) => `${JSON.stringify(p)}\n`).join(""));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("voxsmith features", () => {
  it("writes eGeMAPS functionals of a folder, in order, as the functions give them", async () => {
    const { status, stdout, said } = await run(
      "speech",
      "--out",
      "out/table.csv",
      "--threads",
      "2",
      "--json",
    );
    expect([status, said]).toEqual([0, []]);
    expect(JSON.parse(stdout)).toEqual({
      set: "egemaps",
      out: "out/table.csv",
      rows: 3,
      columns: 88,
      recordings: 3,
      skipped: [],
    });
    const [head, ...rows] = cells(read("out/table.csv"));
    expect(rows.map(([file]) => file)).toEqual(["speech/v1.wav", "speech/v2.wav", "speech/v3.wav"]);
    const { samples, sampleRate } = await readAudio(join(folder, "speech/v2.wav"));
    const { functionals } = egemaps(samples, sampleRate);
    expect(head).toEqual(["file", ...Object.keys(functionals)]);
    Object.values(functionals).forEach((value, i) => {
      expect(Number(rows[1][i + 1])).toBe(Number(value.toPrecision(9)));
    });
    expect(readdirSync(join(folder, "out"))).toEqual(["table.csv"]);
  });

  it("writes frames, of v01b too, as JSON lines", async () => {
    const args = ["speech/v1.wav", "--lld", "--egemaps", "v01b", "--out", "frames.jsonl"];
    const { status, stdout } = await run(...args);
    expect([status, stdout]).toEqual([0, "frames.jsonl: 76 rows of 23 features\n"]);
    const rows = read("frames.jsonl")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    const names = egemapsDescriptors.filter((name) => !/^F[23]bandwidth/.test(name));
    expect(Object.keys(rows[0])).toEqual(["file", "frameTime", ...names]);
    expect(rows.map((row) => row.frameTime)).toEqual(Array.from({ length: 76 }, (_, t) => t / 100));
    const { samples, sampleRate } = await readAudio(join(folder, "speech/v1.wav"));
    const { lld } = egemaps(samples, sampleRate, { version: "v01b" });
    names.forEach((name, i) => {
      expect(rows[30][name]).toBeCloseTo(lld.frames[30][i], 5);
    });
  });

  it("writes a structured array that follows NumPy's format", async () => {
    const { status } = await run("speech", "--set", "mfcc", "--out", "mfcc.npy");
    expect(status).toBe(0);
    const bytes = readFileSync(join(folder, "mfcc.npy"));
    expect(bytes.subarray(0, 8)).toEqual(Buffer.from("\x93NUMPY\x01\x00", "latin1"));
    const start = 10 + bytes.readUInt16LE(8);
    expect(start % 64).toBe(0);
    const head = bytes.toString("latin1", 10, start);
    expect(head).toMatch(/^\{'descr': \[\('file', '<U13'\), \('mfcc\[0\]_amean', '<f8'\), /);
    expect(head).toMatch(/\], 'fortran_order': False, 'shape': \(3,\), +\} *\n$/);
    const fields = [...head.matchAll(/'<f8'/g)].length;
    expect(fields).toBe(2 * 39);
    expect(bytes.length - start).toBe(3 * (4 * 13 + 8 * fields));
    const name = bytes.subarray(start + 4 * 13 + 8 * fields).subarray(0, 4 * 13);
    expect(
      String.fromCodePoint(...new Uint32Array(name.buffer.slice(name.byteOffset, name.byteOffset + 52))),
    ).toBe("speech/v2.wav");
  });

  it("prints the table where no file is named: CSV, or rows in the document", async () => {
    const [plain, json] = await Promise.all([
      run("speech/v1.wav", "--set", "pretext"),
      run("speech/v1.wav", "--set", "mel", "--json"),
    ]);
    const [head, row, ...more] = cells(plain.stdout);
    expect([plain.status, more, row[0]]).toEqual([0, [], "speech/v1.wav"]);
    expect(head.slice(0, 3)).toEqual(["file", "Loudness_sma3_amean", "Loudness_sma3_stddev"]);
    expect(head.at(-1)).toBe("chroma[11]_stddev");
    // The voice glides by 8 Hz around 120: unvoiced frames do not count.
    expect(Number(row[head.indexOf("F0final_sma_amean")])).toBeGreaterThan(110);
    const { table } = JSON.parse(json.stdout);
    expect(Object.keys(table[0])).toHaveLength(161);
    expect(Number.isFinite(table[0]["logMelFreqBand[7]_amean"])).toBe(true);
  });

  it("takes phones from a manifest and recognised ones from a run for clinical features", async () => {
    const args = [
      "manifest.jsonl",
      "--set",
      "clinical",
      "--recognised",
      "predictions.jsonl",
      "--out",
      "c.csv",
    ];
    const { status, stdout } = await run(...args);
    expect([status, stdout]).toEqual([0, "c.csv: 2 rows of 36 features\n"]);
    const [head, ...rows] = cells(read("c.csv"));
    expect(head).toEqual(["file", "id", ...clinicalNames]);
    const value = (row: number, name: string) => rows[row][head.indexOf(name)];
    expect(rows.map((row) => row.slice(0, 2))).toEqual([
      ["speech/v1.wav", "a"],
      ["speech/v2.wav", "b"],
    ]);
    expect([value(0, "pcc"), value(0, "pcv"), value(0, "pct")]).toEqual(["50", "100", "75"]);
    expect(Number(value(0, "percentV"))).toBeCloseTo((100 * 0.4) / 0.7, 6);
    expect(value(1, "percentV")).toBe(""); // no times, so not defined
  });

  it("leaves out what cannot be read, lists it, and stops there if --strict", async () => {
    const files = ["text.wav", "speech/v1.wav", "cut.wav", "none.wav", "short.wav", "speech/v2.wav"];
    const [left, strict, lines] = await Promise.all([
      run(...files, "--out", "left.csv", "--json"),
      run(...files, "--out", "strict.csv", "--strict"),
      run("broken.jsonl", "--out", "lines.csv"),
    ]);
    expect(left.status).toBe(0);
    const { skipped, rows, recordings } = JSON.parse(left.stdout);
    expect([rows, recordings]).toEqual([2, 2]);
    expect(skipped.map((each: { file: string }) => each.file)).toEqual([
      "text.wav",
      "cut.wav",
      "none.wav",
      "short.wav",
    ]);
    expect(left.said).toEqual(skipped.map((each: { message: string }) => `left out: ${each.message}`));
    for (const { file, message } of skipped) expect(message).toContain(`${file}: `);
    expect([strict.status, strict.stdout, strict.said.length]).toEqual([2, "", 1]);
    expect(strict.said[0]).toMatch(/^voxsmith: text\.wav: /);
    expect(lines.status).toBe(0);
    expect(lines.said).toEqual([expect.stringMatching(/^left out: broken\.jsonl:2: not a line of JSON/)]);
    expect(readdirSync(folder)).not.toContain("strict.csv");
  });

  it("one table has one sampling rate where columns depend on it", async () => {
    const [mixed, resampled] = await Promise.all([
      run("speech/v1.wav", "slow.wav", "--set", "pretext", "--out", "mixed.csv"),
      run("speech/v1.wav", "slow.wav", "--set", "pretext", "--rate", "8000", "--out", "resampled.csv"),
    ]);
    expect(mixed.said).toEqual([
      "left out: slow.wav: its 8000 Hz do not go with the 16000 Hz of speech/v1.wav; --rate 8000 brings all to one rate",
    ]);
    expect(resampled.stdout).toMatch(/^resampled\.csv: 2 rows of \d+ features$/m);
  });

  it.each<[string[], RegExp]>([
    [
      ["speech", "--set", "egmaps"],
      /--set <name>` argument `egmaps` is invalid\. Allowed choices are egemaps, /,
    ],
    [["speech", "--out", "table.xlsx"], /--out table\.xlsx: the ending must be \.csv, \.jsonl or \.npy/],
    [["speech", "--set", "clinical", "--lld"], /--lld: clinical features describe a recording as a whole/],
    [["speech", "--recognised", "predictions.jsonl"], /--recognised: only --set clinical/],
    [["empty"], /empty: no sound files in this folder/],
    [["none.wav", "--out", "none.csv"], /none\.wav: there is no such file/],
    [
      ["none.wav", "text.wav", "--out", "none.csv"],
      /none of the 2 recordings can be used; the first: none\.wav: /,
    ],
    [["speech", "--channel", "left"], /--channel <n>` argument `left` is invalid\. .*counted from 0/],
    [["speech", "--egemaps", "v03"], /Allowed choices are v02, v01b/],
    [[], /missing required argument `file`/],
  ])("answers %j with one sentence and status 2", async (args, sentence) => {
    const before = readdirSync(folder);
    const { status, stdout, said } = await run(...args);
    const [last, ...others] = said.toReversed();
    expect([status, stdout]).toEqual([2, ""]);
    expect(last).toMatch(/^voxsmith: /);
    expect(last).toMatch(sentence);
    expect(others.every((line) => line.startsWith("left out: "))).toBe(true);
    expect(readdirSync(folder)).toEqual(before);
  });

  const reference = referenceDir("egemaps");
  it.skipIf(!reference)("openSMILE's functionals of real recordings, by its names", async () => {
    const out = join(folder, "reference.csv");
    const files = ["fsdd_2_yweweler_5.wav", "fsdd_6_george_26.wav"];
    const { status } = await run(...files.map((file) => join(reference!, "audio", file)), "--out", out);
    expect(status).toBe(0);
    const [theirNames, ...theirs] = readFileSync(
      join(resolve(reference!), "eGeMAPSv02_functionals.csv"),
      "utf8",
    )
      .trimEnd()
      .split("\n")
      .map((line) => line.trim().split(";"));
    const [ourNames, ...ours] = cells(readFileSync(out, "utf8"));
    expect(ourNames.slice(1)).toEqual(theirNames.slice(2));
    ours.forEach((row) => {
      const other = theirs.find(([name]) => row[0].endsWith(`${name.replaceAll("'", "")}.wav`))!;
      for (let i = 1; i < row.length; i++) {
        if (/F\d|A3/.test(ourNames[i])) continue; // formants: see docs/features.md
        expect(Math.abs(Number(row[i]) - Number(other[i + 1])), ourNames[i]).toBeLessThan(
          1e-3 * Math.abs(Number(other[i + 1])) + 1e-4,
        );
      }
    });
  });
});
