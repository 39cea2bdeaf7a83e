import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { readManifest } from "../../src/corpus/manifest.ts";
import { readSplitFile } from "../../src/corpus/split-file.ts";
import { splitCorpus } from "../../src/corpus/splits.ts";
import { parseRecipe, printRecipe } from "../../src/train/recipe.ts";
import { dataDir } from "../shared.ts";

const shared = resolve(import.meta.dirname, "../../recipes/splits/shared.json");
const data = dataDir();
const folder = mkdtempSync(join(tmpdir(), "split-"));
const file = (value: unknown): string => {
  const path = join(folder, "split.json");
  writeFileSync(path, typeof value === "string" ? value : JSON.stringify(value));
  return path;
};

describe("a split file", () => {
  test("divides by its lists, and says what it lacks", () => {
    const path = file({ corpora: { tiny: { train: ["a"], test: ["b"] }, odd: { train: [1] } } });
    const of = (...ids: string[]) => ids.map((id) => ({ id, audio: `/x/${id}.wav` }));
    const split = splitCorpus(of("b", "a"), readSplitFile(path, "tiny"));
    expect([split.train[0].id, split.valid.length, split.test[0].id]).toEqual(["a", 0, "b"]);
    expect(() => splitCorpus(of("a", "c"), readSplitFile(path, "tiny"))).toThrow(/"c" is in no part/);
    expect(() => readSplitFile(path, "tinny")).toThrow(
      /split\.json: divides no corpus "tinny"; did you mean tiny/,
    );
    expect(() => readSplitFile(path, "odd")).toThrow(/odd\.train must be a list of utterance ids/);
    expect(() => readSplitFile(join(folder, "none.json"), "tiny")).toThrow(/none\.json: there is no such/);
    expect(() => readSplitFile(file("{"), "tiny")).toThrow(/is not JSON/);
    const twice = file({ corpora: { tiny: { train: ["a"], test: ["a"] } } });
    expect(() => splitCorpus(of("a"), readSplitFile(twice, "tiny"))).toThrow(/in both train and test/);
  });

  test("is found from the recipe, and from the resolved recipe in another place", () => {
    const text =
      "{name: a, upstream: {model: m}, corpus: {manifest: m, split: {by: list, file: splits/s.json, corpus: c}}, objectives: {p: {loss: ctc, target: phones}}}";
    const recipe = parseRecipe(text, "/recipes/x.yaml");
    expect(recipe.corpus.split).toMatchObject({ file: resolve("/recipes/splits/s.json") });
    expect(parseRecipe(printRecipe(recipe), "/runs/a/recipe.yaml")).toEqual(recipe);
  });

  test.skipIf(data === undefined)(
    "shared.json divides every shared corpus, and no known speaker is in two parts",
    () => {
      for (const corpus of ["fsdd", "speechocean762", "barista", "wakewords"]) {
        const utterances = readManifest(join(data!, corpus));
        const split = splitCorpus(utterances, readSplitFile(shared, corpus));
        expect(split.speakerIndependent).toBe(
          corpus === "fsdd" || corpus === "speechocean762" ? true : undefined,
        );
        for (const part of [split.train, split.valid, split.test]) expect(part.length).toBeGreaterThan(20);
      }
    },
  );
});
