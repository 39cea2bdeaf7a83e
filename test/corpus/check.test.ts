import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { encodeWav } from "../../src/audio/decode.ts";
import { corpusCheck } from "../../src/corpus/check.ts";
import type { Utterance } from "../../src/corpus/manifest.ts";
import { readManifest } from "../../src/corpus/manifest.ts";
import { corpusStats } from "../../src/corpus/stats.ts";
import { frequentWords, sampleHours } from "../../src/corpus/subsets.ts";
import { random } from "../../src/random.ts";
import { dataDir } from "../shared.ts";

const folder = mkdtempSync(join(tmpdir(), "voxsmith-check-"));
afterAll(() => rmSync(folder, { recursive: true }));

const speech = (seed: number, samples = 4000) => {
  const chance = random(seed);
  return Float32Array.from({ length: samples }, () => 0.1 * chance.normal());
};
const write = (id: string, samples: Float32Array, rate = 16000, more: Partial<Utterance> = {}): Utterance => {
  const audio = join(folder, `${id}.wav`);
  writeFileSync(audio, encodeWav(samples, rate));
  return { id, audio, ...more };
};

describe("check", () => {
  test.each([0, 2])("each fault is found and nothing else (%i threads)", async (threads) => {
    const garbage = join(folder, "garbage.wav");
    writeFileSync(garbage, "not a sound");
    const loud = speech(9).map((x) => Math.max(-1, Math.min(1, 20 * x)));
    const float = { ...write("float", speech(1)), speaker: "a", split: "test" };
    writeFileSync(
      float.audio,
      encodeWav(
        speech(1).map((x) => Math.round(x * 32768) / 32768),
        16000,
        "float32",
      ),
    );
    const corpus = [
      write("good", speech(1), 16000, { duration: 0.25, speaker: "a", split: "train" }),
      write("good2", speech(2), 16000, { speaker: "b", split: "dev" }),
      { id: "gone", audio: join(folder, "gone.wav") },
      { id: "garbage", audio: garbage },
      write("slow", speech(3), 8000),
      write("short", speech(4), 16000, { duration: 0.5 }),
      write("loud", loud),
      write("quiet", new Float32Array(4000)),
      float,
      write(
        "sine",
        Float32Array.from({ length: 4000 }, (_, t) => 0.9 * Math.sin(0.2 * t)),
      ),
      { ...write("good3", speech(5)), start: 0.1, end: 0.2, duration: 0.1 },
    ];
    const progress: number[] = [];
    const faults = await corpusCheck(corpus, { threads, onProgress: (done) => progress.push(done) });
    expect(faults.map((f) => [f.kind, f.ids.join("+")])).toEqual([
      ["leakage", ""],
      ["duplicate", "good+float"],
      ["missing", "gone"],
      ["unreadable", "garbage"],
      ["rate", "slow"],
      ["duration", "short"],
      ["clipped", "loud"],
      ["silent", "quiet"],
    ]);
    const said = (kind: string) => faults.find((f) => f.kind === kind)!.message;
    expect(said("leakage")).toBe("speaker a is in both train and test");
    expect(said("duplicate")).toBe("good, float: the same sound under 2 ids, in train and test");
    expect(said("rate")).toBe("slow: its sample rate is 8000 Hz, that of most files is 16000 Hz");
    expect(said("duration")).toBe("short: it lasts 0.250 s, but the manifest says 0.5 s");
    expect(progress.length).toBe(corpus.length);
    const strict = await corpusCheck([corpus[0]], { sampleRate: 8000, threads: 0 });
    expect(strict.map((f) => f.message)).toEqual(["good: its sample rate is 16000 Hz, expected is 8000 Hz"]);
  });

  test("real recordings pass", async () => {
    const path = dataDir("speechocean762");
    if (path === undefined) return;
    const faults = await corpusCheck(readManifest(path).slice(0, 20), { threads: 1 });
    expect(faults.filter((f) => f.kind !== "clipped")).toEqual([]);
  });
});

describe("statistics", () => {
  test("counts, hours, labels, parts", () => {
    const corpus: Utterance[] = [
      {
        id: "a",
        audio: "/a",
        duration: 1800,
        speaker: "s",
        split: "train",
        text: "x",
        phones: ["b", "a"],
        labels: { g: "f", n: 0.5 },
      },
      { id: "b", audio: "/b", start: 10, end: 1810, speaker: "s", split: "train", labels: { g: "m", n: 1 } },
      { id: "c", audio: "/c", duration: 3600, speaker: "t", split: "test", phones: ["a"], simulated: true },
    ];
    expect(corpusStats(corpus)).toEqual({
      utterances: 3,
      hours: 2,
      seconds: { shortest: 1800, median: 1800, longest: 3600 },
      speakers: 2,
      withText: 1,
      withPhones: 2,
      phones: ["a", "b"],
      labels: { g: { f: 1, m: 1 }, n: { "0.5": 1, "1": 1 } },
      splits: {
        train: { utterances: 2, hours: 1, speakers: 1 },
        test: { utterances: 1, hours: 1, speakers: 1 },
      },
      simulated: 1,
    });
    expect(corpusStats([{ id: "d", audio: "/d" }]).hours).toBeUndefined();
    const many = Array.from({ length: 60 }, (_, i) => ({
      id: `${i}`,
      audio: "/x",
      labels: { score: i, name: `n${i}` },
    }));
    expect(corpusStats(many).labels).toEqual({ score: { from: 0, to: 59 } });
  });
});

describe("subsets", () => {
  const corpus = Array.from({ length: 200 }, (_, i): Utterance => {
    return { id: `u${i}`, audio: "/x", duration: 5 + (i % 7), speaker: `s${i % 30}` };
  });

  test("hours by chance, with every speaker on request, the same whatever the order", () => {
    const part = sampleHours(corpus, 0.1, 3, (u) => u.speaker);
    const seconds = part.reduce((sum, u) => sum + u.duration!, 0);
    expect(seconds).toBeGreaterThanOrEqual(360);
    expect(seconds).toBeLessThan(360 + 12);
    expect(new Set(part.map((u) => u.speaker)).size).toBe(30);
    expect(part.map((u) => u.id)).toEqual(corpus.filter((u) => part.includes(u)).map((u) => u.id));
    const shuffled = sampleHours([...corpus].reverse(), 0.1, 3, (u) => u.speaker);
    expect(new Set(shuffled)).toEqual(new Set(part));
    expect(sampleHours(corpus, 0.1, 4)).not.toEqual(sampleHours(corpus, 0.1, 3));
    expect(() => sampleHours(corpus, 0.01, 3, (u) => u.speaker)).toThrow(
      /too few for one utterance of each of 30/,
    );
    expect(() => sampleHours([{ id: "q", audio: "/q" }], 1, 3)).toThrow(
      /the duration of utterance "q" is not known/,
    );
  });

  test("frequent words become segments of their own", () => {
    const spoken = Array.from({ length: 4 }, (_, i): Utterance => {
      const words = [
        { word: "Little", start: 0.5, end: 0.9 },
        { word: "cat", start: 0.9, end: 1.1 },
      ];
      return { id: `u${i}`, audio: "/x", start: 10, end: 20, speaker: "s", words };
    });
    const segments = frequentWords(spoken, { least: 4, each: 3 });
    expect(segments.length).toBe(3);
    expect(segments[0]).toEqual({
      id: "u0-0",
      audio: "/x",
      start: 10.5,
      end: 10.9,
      speaker: "s",
      text: "little",
      labels: { word: "little" },
    });
    expect(frequentWords(spoken, { least: 5 })).toEqual([]);
  });
});
