import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { writeManifest } from "../../../src/corpus/manifest.ts";
import { readers } from "../../../src/corpus/readers/index.ts";
import { readCorpus } from "../../../src/corpus/readers/reader.ts";
import { cellRecipe, openStudy, partsOf, settingsOf } from "../../../src/methods/severity/study/study.ts";
import { readRecipe } from "../../../src/train/recipe.ts";

const recipes = resolve(import.meta.dirname, "../../../recipes");

/** A miniature of a licensed corpus: the files that its reader looks for. */
async function miniature(name: string, files: Record<string, string>) {
  const folder = mkdtempSync(join(tmpdir(), `${name}-`));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  const utterances = await readCorpus(name, readers, folder);
  writeManifest(join(folder, "manifest.jsonl"), utterances);
  const recipe = readRecipe(join(recipes, name, "severity.yaml"));
  return openStudy(recipe, folder, join(folder, "study"));
}

/** The paper's choices, which all three recipes share. */
function expectPaper(study: Awaited<ReturnType<typeof miniature>>) {
  const { recipe, roles } = study;
  expect(recipe.upstream.model).toBe("facebook/wav2vec2-xls-r-300m");
  expect(recipe.corpus.normalize).toBe(false);
  expect(recipe.objectives[roles.severity]).toMatchObject({
    weight: 1,
    from: { epoch: 30 },
    pool: "mean",
    head: "linear",
  });
  expect(recipe.objectives[roles.phonemes]).toMatchObject({
    weight: 0.1,
    reduction: "utterance",
    head: "linear",
  });
  expect(recipe.plan).toMatchObject({ freeze: ["feature_extractor"], recompute: "all", headFirst: 0 });
  expect(recipe.optimizer).toEqual({
    name: "adam",
    lr: 2e-5,
    betas: [0.9, 0.98],
    eps: 1e-8,
    clip: 0,
    weightDecay: 0,
  });
  expect(recipe.schedule).toEqual({ name: "constant" });
  expect([recipe.batch.size * recipe.batch.accumulate, recipe.epochs]).toEqual([4, 100]);
  expect(recipe.augment.timeMask).toMatchObject({ prob: 0.075, length: 10 });
  expect(recipe.checkpoint.last).toBe(true);
  const settings = settingsOf([1, 0.1, 0.01, 0.001, 0], [0, 10, 20, 30, 40]);
  expect(settings).toHaveLength(21);
  for (const setting of settings) expect(cellRecipe(study, setting, 1).epochs).toBe(100);
}

describe("recipes for clinical corpora", () => {
  it("QoLT: 80 speakers, five sentences twice, five folds of 480, 160 and 160 utterances", async () => {
    const rows = ["path,phones,speaker,gender,severity,session"];
    const files: Record<string, string> = {};
    // 10 healthy (5 male), and 25, 26, 12, 7 of the grades with 45 males in all.
    const counts = [10, 25, 26, 12, 7];
    const males = [5, 16, 17, 8, 4];
    let n = 0;
    for (const [grade, count] of counts.entries())
      for (let i = 0; i < count; i++) {
        const speaker = `s${n++}`;
        for (let sentence = 0; sentence < 5; sentence++)
          for (const session of [1, 2]) {
            const path = `wav/${speaker}-${sentence}-${session}.wav`;
            files[path] = "";
            rows.push(
              `${path},k a ng,${speaker},${i < males[grade] ? "male" : "female"},${grade},${session}`,
            );
          }
      }
    const study = await miniature("qolt", { ...files, "qolt.csv": rows.join("\n") });
    expectPaper(study);
    expect(study.utterances).toHaveLength(800);
    for (let fold = 0; fold < 5; fold++) {
      const { train, valid, test } = partsOf(study, fold);
      expect([train.length, valid.length, test.length]).toEqual([480, 160, 160]);
      const men = new Set(
        test.filter(({ labels }) => labels!.gender === "male").map(({ speaker }) => speaker),
      );
      expect(men.size).toBeGreaterThanOrEqual(9);
      expect(men.size).toBeLessThanOrEqual(11);
      const severe = new Set(
        test.filter(({ labels }) => labels!.severity === 4).map(({ speaker }) => speaker),
      );
      expect([1, 2]).toContain(severe.size);
    }
  });

  it("TORGO: fifteen speakers in three grades and three folds", async () => {
    const speakers = [
      "F01",
      "M01",
      "M02",
      "M04",
      "M05",
      "F03",
      "F04",
      "M03",
      "FC01",
      "FC02",
      "FC03",
      "MC01",
      "MC02",
      "MC03",
      "MC04",
    ];
    const files = Object.fromEntries(
      speakers.flatMap((speaker) => [
        [`${speaker}/Session1/prompts/0001.txt`, "Stick."],
        [`${speaker}/Session1/wav_headMic/0001.wav`, ""],
      ]),
    );
    const study = await miniature("torgo", files);
    expectPaper(study);
    expect(new Set(study.grades.values())).toEqual(new Set(["none", "mild-moderate", "severe"]));
    expect(study.symbols).toEqual([".", "c", "i", "k", "s", "t"]);
    expect(partsOf(study, 0).test.length).toBe(5);
  });

  it("UASpeech: five classes of intelligibility in three folds", async () => {
    const speakers = [
      "M04",
      "F03",
      "M12",
      "M01",
      "M07",
      "F02",
      "M16",
      "M05",
      "M11",
      "F04",
      "M09",
      "M14",
      "M08",
      "M10",
      "F05",
    ];
    const controls = ["CF02", "CM01", "CM04"];
    const files: Record<string, string> = {};
    for (const speaker of [...speakers, ...controls]) {
      const folder = controls.includes(speaker) ? `audio/control/${speaker}` : `audio/${speaker}`;
      files[`${folder}/${speaker}_B1_C1_M5.wav`] = "";
      files[`mlf/${speaker}/${speaker}_word.mlf`] = `#!MLF!#\n"*/${speaker}_B1_C1_M5.lab"\nCOMMAND\n.\n`;
    }
    const study = await miniature("uaspeech", files);
    expectPaper(study);
    expect(study.roles.classes).toEqual(["none", "high", "mid", "low", "very low"]);
    for (let fold = 0; fold < 3; fold++)
      expect(new Set(partsOf(study, fold).test.map(({ labels }) => labels!.severity)).size).toBe(5);
  });
});
