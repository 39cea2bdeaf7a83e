import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodeWav } from "../../src/audio/decode.ts";
import { readAudio } from "../../src/audio/file.ts";
import { readManifest } from "../../src/corpus/manifest.ts";
import { readers } from "../../src/corpus/readers/index.ts";
import { voxsmith, writeVoice } from "./voxsmith.ts";

const folder = mkdtempSync(join(tmpdir(), "corpus-"));
const run = (...args: string[]) => voxsmith(folder, "corpus", ...args);
const at = (...path: string[]) => join(folder, ...path);
const lines = (path: string) =>
  readFileSync(at(path), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
const manifest = (path: string, values: unknown[]) =>
  writeFileSync(at(path), values.map((value) => `${JSON.stringify(value)}\n`).join(""));

/** A tar archive of plain files. */
function tar(files: Record<string, Buffer | string>): Buffer {
  const blocks = Object.entries(files).flatMap(([name, content]) => {
    const data = Buffer.from(content);
    const header = Buffer.alloc(512);
    header.write(name, 0);
    header.write("0000644\0", 100);
    header.write(`${data.length.toString(8).padStart(11, "0")}\0`, 124);
    header.write("        0", 148);
    header.write("ustar\x0000", 257);
    header.write(
      `${header
        .reduce((sum, byte) => sum + byte, 0)
        .toString(8)
        .padStart(6, "0")}\0 `,
      148,
    );
    return [header, data, Buffer.alloc((512 - (data.length % 512)) % 512)];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

let server: Server;
let mirror: string;

beforeAll(async () => {
  mkdirSync(at("fsdd", "recordings"), { recursive: true });
  for (const speaker of ["george", "jackson"])
    for (const take of [0, 5, 6])
      writeVoice(at("fsdd", "recordings", `${take}_${speaker}_${take}.wav`), take, 0.4, 8000);
  mkdirSync(at("audio"));
  for (const seed of [1, 2, 3, 4]) writeVoice(at("audio", `v${seed}.wav`), seed);
  const timed = [
    { phone: "n", start: 0, end: 0.2 },
    { phone: "aa", start: 0.2, end: 0.6 },
  ];
  const words = [{ word: "gnawing", start: 0, end: 0.6 }, "there"];
  manifest("good.jsonl", [
    {
      id: "a",
      audio: "audio/v1.wav",
      speaker: "s1",
      text: "gnawing there",
      phones: timed,
      words,
      labels: { gender: "f" },
    },
    { id: "b/1", audio: "audio/v2.wav", speaker: "s2", start: 0.1, end: 0.7, duration: 0.6, split: "test" },
  ]);
  const archive = gzipSync(tar({ "speechocean762/README.md": "HELLO\n" }));
  server = createServer((request, response) => {
    if (request.url === "/openslr/data_aishell3.tgz") response.end(archive.subarray(0, archive.length >> 1));
    else if (/speechocean762|dev-clean/.test(request.url!)) response.end(archive);
    else response.writeHead(404).end();
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  mirror = `http://127.0.0.1:${(server.address() as AddressInfo).port}/openslr/`;
});
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

describe("voxsmith corpus NAME", () => {
  it("has a command with help for every reader", async () => {
    const { status, stdout } = await run("--help");
    expect(status).toBe(0);
    const listed = [...stdout.split("Corpora:\n")[1].matchAll(/^ {2}([\w-]+) \[options\] <folder>/gm)];
    expect(listed.map((match) => match[1])).toEqual(Object.keys(readers));
    const help = await run("librispeech", "--help");
    expect(help.stdout).toMatch(/^Usage: voxsmith corpus librispeech \[options\] <folder>\n/);
    for (const part of ["--test-list <value>", "--json", "Example:\n  $ voxsmith corpus librispeech "])
      expect(help.stdout).toContain(part);
  });

  it("writes a manifest with durations from a folder given relative to here", async () => {
    const { status, stdout, said } = await run("fsdd", "fsdd", "--out", "made/fsdd.jsonl", "--json");
    expect([status, said]).toEqual([0, []]);
    expect(JSON.parse(stdout)).toEqual({
      out: "made/fsdd.jsonl",
      utterances: 6,
      hours: expect.closeTo((6 * 0.4) / 3600, 9),
      speakers: 2,
      splits: { test: 2, train: 4 },
      leftOut: [],
    });
    const [first] = lines("made/fsdd.jsonl");
    expect(first).toMatchObject({
      id: "0_george_0",
      audio: "../fsdd/recordings/0_george_0.wav",
      speaker: "george",
      text: "zero",
      duration: 0.4,
    });
    expect(readManifest(at("made", "fsdd.jsonl"))).toHaveLength(6);
  });

  it("passes a corpus' own options on, and lists what --skip-bad leaves out", async () => {
    writeFileSync(at("table.tsv"), "path\tspeaker\taccent\naudio/v1.wav\ts1\tA\naudio/gone.wav\ts2\tB\n");
    const strict = await run("csv", "table.tsv", "--out", "csv.jsonl");
    expect([strict.status, strict.said.length, existsSync(at("csv.jsonl"))]).toEqual([2, 1, false]);
    expect(strict.said[0]).toMatch(/gone\.wav/);
    const { status, stdout, said } = await run(
      "csv",
      "table.tsv",
      "--out",
      "csv.jsonl",
      "--skip-bad",
      "--json",
    );
    expect([status, said.length]).toEqual([0, 1]);
    expect(said[0]).toMatch(/^left out: .*gone\.wav/);
    expect(JSON.parse(stdout)).toMatchObject({ utterances: 1, leftOut: [{ message: said[0].slice(10) }] });
    expect(lines("csv.jsonl")[0]).toMatchObject({ speaker: "s1", labels: { accent: "A" } });
    writeFileSync(at("made", "table.csv"), "path,speaker\nv2.wav,s2\n");
    const rooted = await run("csv", "made/table.csv", "--root", "audio", "--out", "made/rooted.jsonl");
    expect([rooted.status, lines("made/rooted.jsonl")[0].audio]).toEqual([0, "../audio/v2.wav"]);
  });
});

describe("voxsmith corpus", () => {
  it("stats", async () => {
    const [json, text] = await Promise.all([
      run("stats", "good.jsonl", "--json"),
      run("stats", "good.jsonl"),
    ]);
    expect(JSON.parse(json.stdout)).toMatchObject({
      utterances: 2,
      speakers: 2,
      withPhones: 1,
      phones: ["aa", "n"],
      labels: { gender: { f: 1 } },
      splits: { test: { utterances: 1, speakers: 1 } },
    });
    expect(JSON.parse(json.stdout).hours).toBeCloseTo(1.4 / 3600, 9);
    expect(text.stdout).toMatch(/^speakers +2$/m);
    expect(text.stdout).toMatch(/^gender +f 1$/m);
  });

  it("check finds what is wrong and exits with 1", async () => {
    writeFileSync(at("audio", "silent.wav"), encodeWav(new Float32Array(16000), 16000));
    writeVoice(at("audio", "slow.wav"), 9, 0.5, 8000);
    writeVoice(at("audio", "cut.wav"), 9);
    truncateSync(at("audio", "cut.wav"), 400);
    manifest("bad.jsonl", [
      { id: "ok", audio: "audio/v1.wav", speaker: "s", split: "train" },
      { id: "same", audio: "audio/v1.wav", speaker: "s", split: "test" },
      { id: "quiet", audio: "audio/silent.wav" },
      { id: "slow", audio: "audio/slow.wav" },
      { id: "cut", audio: "audio/cut.wav" },
      { id: "gone", audio: "audio/gone.wav" },
      { id: "ok", audio: "audio/v2.wav" },
    ]);
    const [bad, good] = await Promise.all([run("check", "bad.jsonl", "--json"), run("check", "good.jsonl")]);
    expect([bad.status, bad.said]).toEqual([1, []]);
    const { ok, utterances, faults } = JSON.parse(bad.stdout);
    expect([ok, utterances]).toEqual([false, 5]);
    const kinds = faults.map(({ kind }: { kind: string }) => kind).sort();
    expect(kinds).toEqual(["duplicate", "leakage", "manifest", "missing", "rate", "silent", "unreadable"]);
    expect(faults[0].message).toMatch(/^bad\.jsonl:6: .*gone\.wav/);
    expect([good.status, good.stdout]).toEqual([0, "2 utterances, nothing wrong\n"]);
  });

  it("sample and words", async () => {
    const occurrences = Array.from({ length: 4 }, (_, i) => ({
      id: `u${i}`,
      audio: `audio/v${i + 1}.wav`,
      speaker: `s${i % 2}`,
      words: [
        { word: "Between", start: 0.1, end: 0.3 },
        { word: "us", start: 0.3, end: 0.5 },
      ],
    }));
    manifest("words.jsonl", occurrences);
    const [half, words, none] = await Promise.all([
      run(
        "sample",
        "words.jsonl",
        "--hours",
        `${1.7 / 3600}`,
        "--keep-speakers",
        "--out",
        "half.jsonl",
        "--json",
      ),
      run("words", "words.jsonl", "--least", "4", "--each", "3", "--out", "between.jsonl"),
      run("words", "words.jsonl", "--out", "none.jsonl"),
    ]);
    expect(JSON.parse(half.stdout)).toEqual({ out: "half.jsonl", utterances: 3, of: 4 });
    expect(new Set(lines("half.jsonl").map(({ speaker }) => speaker)).size).toBe(2);
    expect(words.stdout).toBe("between.jsonl: 3 occurrences of 1 words\n");
    expect(lines("between.jsonl")[1]).toMatchObject({ start: 0.1, end: 0.3, labels: { word: "between" } });
    expect([none.status, existsSync(at("none.jsonl"))]).toEqual([2, false]);
    expect(none.said).toEqual([expect.stringMatching(/no word with times occurs 300 times/)]);
  });

  it("alignments gives an utterance the words and phones of its TextGrid", async () => {
    const tier = (name: string, label: string) =>
      `"IntervalTier"\n"${name}"\n0\n0.8\n1\n0.1\n0.7\n"${label}"\n`;
    mkdirSync(at("grids"));
    writeFileSync(
      at("grids", "v2.TextGrid"),
      `File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n0.8\n<exists>\n2\n${tier("words", "oh")}${tier("phones", "OW1")}`,
    );
    const { status, stdout } = await run(
      "alignments",
      "good.jsonl",
      "grids",
      "--out",
      "aligned.jsonl",
      "--json",
    );
    expect([status, JSON.parse(stdout)]).toEqual([0, { out: "aligned.jsonl", aligned: 1, utterances: 2 }]);
    const [a, b] = lines("aligned.jsonl");
    expect(a.words[1]).toBe("there");
    expect(b.words).toEqual([{ word: "oh", start: 0.1, end: 0.7 }]);
    expect(b.phones).toEqual([{ phone: "OW1", start: 0.1, end: 0.7 }]);
  });

  it("degrade moves times along and repeats itself from its seed", async () => {
    const args = ["--speed", "1.25", "--noise", "10", "--codec", "8bits"];
    const [first, second] = await Promise.all([
      run("degrade", "good.jsonl", "worse", ...args, "--json"),
      run("degrade", "good.jsonl", "again", ...args, "--threads", "1"),
    ]);
    expect([first.status, first.said, second.status]).toEqual([0, [], 0]);
    expect(JSON.parse(first.stdout)).toMatchObject({
      out: "worse/manifest.jsonl",
      utterances: 2,
      leftOut: [],
      changes: [
        { kind: "speed", factor: 1.25 },
        { kind: "noise", snr: 10, color: "white" },
        { kind: "codec", bits: 8 },
      ],
    });
    const [a, b] = lines("worse/manifest.jsonl");
    expect(a.phones).toEqual([
      { phone: "n", start: 0, end: 0.16 },
      { phone: "aa", start: 0.16, end: 0.48 },
    ]);
    expect(a.words).toEqual([{ word: "gnawing", start: 0, end: 0.48 }, "there"]);
    expect(a.duration).toBeCloseTo(0.64, 3);
    expect(b).toMatchObject({ id: "b/1", audio: "audio/b_1.wav", split: "test" });
    expect([b.start, b.end]).toEqual([undefined, undefined]);
    expect(b.duration).toBeCloseTo(0.48, 3);
    for (const { audio } of [a, b])
      expect(readFileSync(at("worse", audio)).equals(readFileSync(at("again", audio)))).toBe(true);
  });

  it("simulate grades speakers, all grades of a recording, or single dimensions, and says that it did", async () => {
    const [dealt, all, slow] = await Promise.all([
      run("simulate", "good.jsonl", "dealt", "--json"),
      run("simulate", "good.jsonl", "all", "--all-grades"),
      run("simulate", "good.jsonl", "slow", "--depth", "slowRate=1"),
    ]);
    expect([dealt.status, all.status, slow.status]).toEqual([0, 0, 0]);
    expect(JSON.parse(dealt.stdout)).toMatchObject({ simulated: true, utterances: 2 });
    const five = lines("all/manifest.jsonl");
    expect(five.map(({ id, labels, simulated }) => [id, labels.severity, simulated])).toEqual(
      ["a", "b/1"].flatMap((id) => [0, 1, 2, 3, 4].map((grade) => [`${id}-grade${grade}`, grade, true])),
    );
    expect(five[0].labels.gender).toBe("f");
    expect(new Set(lines("dealt/manifest.jsonl").map(({ labels }) => labels.severity)).size).toBe(2);
    const [a] = lines("slow/manifest.jsonl");
    expect([a.simulated, a.labels]).toEqual([true, { gender: "f" }]);
    expect(a.duration).toBeGreaterThan(1.2 * 0.8);
    expect(a.phones[1].end).toBeGreaterThan(1.2 * 0.6);
    expect((await readAudio(at("slow", a.audio))).samples.length / 16000).toBeCloseTo(a.duration, 6);
  });

  it("synth speaks a corpus, graded on request", async () => {
    writeFileSync(at("sentences.txt"), "Der Zug fährt.\n\nEs ist spät.\n");
    const args = [
      "--speakers",
      "2",
      "--utterances",
      "2",
      "--voice",
      "de",
      "--sentences",
      "sentences.txt",
      "--graded",
    ];
    const { status, stdout, said } = await run("synth", "spoken", ...args, "--threads", "1", "--json");
    expect([status, said]).toEqual([0, []]);
    expect(JSON.parse(stdout)).toMatchObject({
      out: "spoken/manifest.jsonl",
      utterances: 4,
      speakers: 2,
      simulated: 4,
    });
    const [one] = lines("spoken/manifest.jsonl");
    expect(["Der Zug fährt.", "Es ist spät."]).toContain(one.text);
    expect(one.phones.length).toBeGreaterThan(4);
    expect(existsSync(at("spoken", one.audio))).toBe(true);
  });

  it("fetch unpacks what a server gives, and says so where there is none", async () => {
    const fetch = (into: string, corpus: string, parts = "all", from = mirror) =>
      run("fetch", corpus, into, "--parts", parts, "--mirror", from, "--json");
    const closed = createServer().listen(0, "127.0.0.1");
    await new Promise((done) => closed.once("listening", done));
    const nobody = `http://127.0.0.1:${(closed.address() as AddressInfo).port}`;
    await new Promise((done) => closed.close(done));
    const [whole, cut, damaged, missing, offline] = await Promise.all([
      fetch("got", "speechocean762"),
      fetch("cut", "aishell3"),
      fetch("damaged", "librispeech", "dev-clean"),
      fetch("missing", "fsdd"),
      fetch("offline", "speechocean762", "all", nobody),
    ]);
    expect([whole.status, whole.said]).toEqual([0, []]);
    expect(JSON.parse(whole.stdout)).toMatchObject({
      folder: "got",
      licence: "CC BY 4.0",
      archives: [{ part: "all", hash: expect.stringMatching(/^sha256:[0-9a-f]{64}$/), verified: false }],
      next: "voxsmith corpus speechocean762 got --out speechocean762.jsonl",
    });
    expect(readFileSync(at("got", "README.md"), "utf8")).toBe("HELLO\n");
    for (const [{ status, stdout, said }, sentence] of [
      [cut, /damaged or cut off/],
      [damaged, /dev-clean\.tar\.gz: arrived damaged \(sha256:\w+ instead of sha256:76f87d09/],
      [missing, /master\.zip: the server answers 404/],
      [
        offline,
        /speechocean762\.tar\.gz cannot be reached .*bring the archive from another machine as .*offline\.download/,
      ],
    ] as const) {
      expect(status).toBeGreaterThan(0);
      expect([stdout, said.length]).toEqual(["", 1]);
      expect(said[0]).toMatch(sentence);
    }
    expect(readdirSync(folder).filter((name) => /^\.|^(cut|damaged|missing|offline)/.test(name))).toEqual([]);
  });

  it.each<[string[], RegExp]>([
    [[], /name a corpus or a command; `voxsmith corpus --help` lists them/],
    [["fsd", "fsdd", "--out", "x.jsonl"], /`fsd` is no corpus known here; did you mean `fsdd`\?/],
    [["fsdd", "fsdd"], /required option `--out <manifest>` not specified/],
    [["fsdd", "nowhere", "--out", "x.jsonl"], /nowhere: there is no such folder/],
    [["fsdd", "fsdd", "--out", "x.jsonl", "--hours", "3"], /unknown option `--hours`/],
    [["stats", "nowhere.jsonl"], /nowhere\.jsonl: no such manifest/],
    [
      ["sample", "good.jsonl", "--hours", "9", "--out", "x.jsonl"],
      /9 hours were asked for, but there are only 0\.00/,
    ],
    [["degrade", "good.jsonl", "x"], /nothing to change: give one of --speed/],
    [["degrade", "good.jsonl", "x", "--speed", "9"], /factor must be from 0\.25 to 4, not 9/],
    [["degrade", "good.jsonl", "fsdd", "--gain", "3"], /fsdd: exists already/],
    [
      ["degrade", "good.jsonl", "x", "--noise", "3", "--noise-file", "gone.wav"],
      /gone\.wav: there is no such file/,
    ],
    [
      ["simulate", "good.jsonl", "x", "--depth", "slow=1"],
      /--depth slow=1: the dimension must be one of slowRate, /,
    ],
    [["simulate", "good.jsonl", "x", "--grade", "5"], /--grade 5: must be one of 0, 1, 2, 3, 4/],
    [["synth", "x", "--voice", "xx-klingon"], /no sentences for the voice "xx-klingon"/],
    [
      ["synth", "x", "--voice", "en-zz", "--speakers", "1", "--utterances", "1"],
      /espeak-ng has no voice "en-zz"/,
    ],
    [["fetch", "timit", "x"], /timit cannot be fetched; these can: /],
  ])("answers %j with one sentence and status 2, and leaves nothing behind", async (args, sentence) => {
    const before = readdirSync(folder);
    const { status, stdout, said } = await run(...args);
    expect([status, stdout, said.length], said.join("\n")).toEqual([2, "", 1]);
    expect(said[0]).toMatch(/^voxsmith: /);
    expect(said[0]).toMatch(sentence);
    expect(readdirSync(folder)).toEqual(before);
  });
});
