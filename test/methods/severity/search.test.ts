import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ALL_BASELINES, runBaselines } from "../../../src/methods/severity/baselines/run.ts";
import {
  CLASSIFIERS,
  type SearchTask,
  search,
  standardised,
} from "../../../src/methods/severity/baselines/search.ts";
import { openStudy } from "../../../src/methods/severity/study/study.ts";
import { random } from "../../../src/random.ts";
import { parseRecipe } from "../../../src/train/recipe.ts";
import { gradedCorpus, gradedRecipe } from "./graded-corpus.ts";

/** Two clouds; a column that is constant, one that is always missing, one that sometimes is. */
function part(count: number, seed: number, shift = 0) {
  const chance = random("search", seed);
  const labels = Array.from({ length: count }, (_, i) => i % 2);
  const rows = labels.map((label) =>
    Float64Array.of(
      5 + 3 * label + chance.normal() + shift,
      7,
      Number.NaN,
      chance.next() < 0.3 ? Number.NaN : 100 * label + 10 * chance.normal(),
    ),
  );
  return { rows, labels };
}

const task = (classifier: SearchTask["classifier"], test = part(12, 3).rows): SearchTask => ({
  ...{ classifier, train: part(40, 1), valid: part(12, 2), test },
  ...{ classes: 2, seed: 1, mlpSettings: 3, powers: [-1, 0, 1] },
});

describe("the search of a baseline", () => {
  it.each(CLASSIFIERS)("%s separates what is separable, whatever is missing", (classifier) => {
    const { predicted, probabilities, columns, tried, valid } = search(task(classifier));
    expect(columns).toBe(2);
    expect(tried).toBe({ svm: 9, mlp: 3, trees: 3 }[classifier]);
    expect(valid.accuracy).toBeGreaterThan(0.8);
    const right = predicted.filter((p, i) => p === part(12, 3).labels[i]).length;
    expect(right).toBeGreaterThan(9);
    if (classifier !== "svm")
      for (const row of probabilities!) expect(row.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 9);
  });

  it.each(CLASSIFIERS)("%s chooses the same whatever the test part is", (classifier) => {
    const [a, b] = [search(task(classifier)), search(task(classifier, part(30, 9, 50).rows))];
    expect(b.setting).toEqual(a.setting);
    expect(b.valid).toEqual(a.valid);
  });

  it("standardises by the training part alone", () => {
    const { train, test } = standardised(task("svm", part(12, 3, 1000).rows));
    const mean = train.reduce((sum, row) => sum + row[0], 0) / train.length;
    const square = train.reduce((sum, row) => sum + row[0] ** 2, 0) / train.length;
    expect(mean).toBeCloseTo(0, 9);
    expect(square).toBeCloseTo(1, 9);
    expect(test[0][0]).toBeGreaterThan(100);
    // Missing is the mean for machines that need a number, and stays missing for trees.
    expect(train.some((row) => row[1] === 0)).toBe(true);
    expect(standardised(task("trees")).train.some((row) => Number.isNaN(row[1]))).toBe(true);
  });
});

describe("baselines of a study", () => {
  it("grade the test part of each fold by the sound, and are found again", async () => {
    const corpus = gradedCorpus({ seconds: 0.12 });
    const folder = mkdtempSync(join(tmpdir(), "baselines-"));
    const study = openStudy(parseRecipe(gradedRecipe(), "graded.yaml"), corpus.folder, folder);
    const said: string[] = [];
    const options = {
      jobs: 1,
      threads: 1,
      signal: new AbortController().signal,
      log: (l: string) => void said.push(l),
    };
    const spec = {
      ...ALL_BASELINES,
      sets: ["hand-crafted", "both"] as const,
      classifiers: ["trees"] as const,
    };
    const first = await runBaselines(study, [0], [1], spec, options);
    expect(first.left).toBe(0);
    for (const { answers, search: found } of first.results) {
      expect(answers).toHaveLength(6);
      expect(found.tried).toBe(3);
      for (const { predicted, truth, id } of answers) {
        expect(study.roles.classes).toContain(predicted);
        expect(truth).toBe(String(Number(id.slice(1, -2)) % 3));
      }
    }
    said.length = 0;
    expect((await runBaselines(study, [0], [1], spec, options)).results).toEqual(first.results);
    expect(said).toEqual([]);
  });
});
