import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { readManifest } from "../../src/corpus/manifest.ts";
import { candidatesOf } from "../../src/methods/pretext/candidates.ts";
import { unitsOf } from "../../src/methods/pretext/units.ts";
import { voxsmith, writeVoice } from "./voxsmith.ts";

const folder = mkdtempSync(join(tmpdir(), "select-"));
const line = (id: string, extra: object) => JSON.stringify({ id, audio: `${id}.wav`, ...extra });

beforeAll(() => {
  const lines: string[] = [];
  for (let i = 0; i < 12; i++) {
    writeVoice(join(folder, `v${i}.wav`), i, 0.5 + 0.03 * i);
    const middle = 0.25 + 0.01 * i;
    lines.push(
      line(`v${i}`, {
        speaker: `s${i % 3}`,
        labels: { mood: i % 2 ? "calm" : "glad" },
        phones: [
          { phone: "a", start: 0, end: middle },
          { phone: "o", start: middle, end: 0.49 },
        ],
      }),
    );
  }
  writeFileSync(join(folder, "manifest.jsonl"), lines.join("\n"));
});

const quick = ["--features", "Loudness_sma3,pcm_zcr_sma,alphaRatio_sma3", "--restarts", "2", "--steps", "60"];
const select = (...args: string[]) => voxsmith(folder, "select", ".", ...quick, "--threads", "1", ...args);

describe("voxsmith select", () => {
  it("writes weights and a page, and takes descriptors from the last call", async () => {
    const extra = ["--convergence", "--ternary", "Loudness_sma3,pcm_zcr_sma,alphaRatio_sma3"];
    const first = await select("--task", "mood", "--out", "mood", ...extra);
    expect(first.said).toEqual([]);
    expect(first.status).toBe(0);
    const read = () => JSON.parse(readFileSync(join(folder, "mood", "weights.json"), "utf8"));
    const result = read();
    const sum = Object.values(result.weights as Record<string, number>).reduce((a, b) => a + b, 0);
    expect(sum).toBeCloseTo(1, 4);
    expect(result.always).toEqual({ mel: 1, mfcc: 1 });
    expect(result.choices.map((c: { method: string }) => c.method)).toEqual([
      "sparsemax",
      "softmax",
      "mrmr",
      "rfe",
      "all",
    ]);
    expect(result.convergence.of).toBe("units of each class");
    const report = readFileSync(join(folder, "mood", "report.html"), "utf8");
    expect(report).toContain("Between three candidates");
    expect(report).toContain("How many are enough");

    const again = await select("--task", "mood", "--out", "mood", "--method", "all", "--json");
    expect(JSON.parse(again.stdout).weights).toEqual({
      Loudness_sma3: 1,
      pcm_zcr_sma: 1,
      alphaRatio_sma3: 1,
    });
    expect(read().method).toBe("all");
  });

  it("weighs spectral candidates beside fixed labels, each group summing to 1", async () => {
    const fixed = join(folder, "fixed.json");
    writeFileSync(fixed, JSON.stringify({ weights: { Loudness_sma3: 0.25, pcm_zcr_sma: 0.75 } }));
    const features = ["--features", "Loudness_sma3,pcm_zcr_sma,mfcc,chroma"];
    const { stdout, status } = await select("--task", "speaker", ...features, "--fix", fixed, "--json");
    expect(status).toBe(0);
    const { weights, always } = JSON.parse(stdout);
    expect([weights.Loudness_sma3, weights.pcm_zcr_sma]).toEqual([0.25, 0.75]);
    expect(weights.mfcc + weights.chroma).toBeCloseTo(1, 4);
    expect(always).toEqual({ mel: 1 });
  });

  it("cuts phones, compares rankings with errors, and warns where scale decides", async () => {
    const errors = join(folder, "errors.csv");
    writeFileSync(errors, "candidate,error\nLoudness_sma3,3\npcm_zcr_sma,1\nalphaRatio_sma3,2\n");
    const { stdout, said, status } = await select(
      "--task",
      "phones",
      "--reference",
      "--errors",
      errors,
      "--json",
    );
    expect(status).toBe(0);
    const result = JSON.parse(stdout);
    // Three of the second phones are shorter than 160 ms.
    expect(result.units).toBe(21);
    expect(result.classes).toBe(2);
    expect(Math.abs(result.agreement.spearman)).toBeLessThanOrEqual(1);
    expect(said.join()).toMatch(/warning: .*the ranking follows the labels' scale/);
    expect(result.settings).toMatchObject({ centring: "reference", aggregate: "mean", bandwidth: 0.05 });
  });

  it("refuses in a sentence what cannot be", async () => {
    const { status, said } = await select("--task", "age");
    expect(said.join("\n")).toMatch(
      /utterance "v0" has no label "age"; --task names phones, words, speaker or a label/,
    );
    expect(status).toBe(2);
    const utterances = readManifest(folder);
    expect(() => unitsOf(utterances, { task: "words" })).toThrow(/no word with times .* occurs 300 times/);
    expect(() => unitsOf([{ id: "x", audio: "x", phones: ["a"] }], { task: "phones" })).toThrow(
      /utterance "x" has no phones with times/,
    );
    expect(() => candidatesOf(["lodness"])).toThrow(/--features lodness: is no candidate/);
    expect(candidatesOf(["plus", "chroma", "chroma"])).toHaveLength(4);
  });

  it("draws classes and units by seed, the same each time", () => {
    const utterances = readManifest(folder);
    const drawn = (seed: number) =>
      unitsOf(utterances, { task: "speaker", classes: 2, perClass: 3, seed }).map(
        ({ utterance }) => utterance.id,
      );
    expect(drawn(1)).toHaveLength(6);
    expect(drawn(1)).toEqual(drawn(1));
    expect([1, 2, 3, 4].map((seed) => drawn(seed).join())).not.toEqual(new Array(4).fill(drawn(1).join()));
  });
});
