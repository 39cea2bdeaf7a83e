import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { gradedCorpus, gradedRecipe, writeManifestLines } from "./graded-corpus.ts";

const bin = resolve(import.meta.dirname, "../../../bin/voxsmith.js");
const corpus = gradedCorpus({ seconds: 0.12 });
const recipe = join(corpus.folder, "recipe.yaml");
writeFileSync(recipe, gradedRecipe());
const severity = (...args: string[]) =>
  spawnSync(process.execPath, [bin, "severity", ...args, "--data", corpus.folder], { encoding: "utf8" });

describe("voxsmith severity", () => {
  it("plans without writing: runs, and speakers by grade and fold", () => {
    const out = join(corpus.folder, "planned");
    const { status, stdout, stderr } = severity(
      "grid",
      recipe,
      "--plan",
      "--json",
      "--alpha",
      "0.1,0",
      "--e",
      "0,1",
      "--out",
      out,
    );
    expect(status).toBe(0);
    const plan = JSON.parse(stdout);
    expect(plan.cells).toHaveLength(9);
    expect(plan.cells[0]).toBe("alpha0.1_e0_fold0_seed1");
    expect(plan.speakers).toEqual(Array(3).fill({ 0: 1, 1: 1, 2: 1 }));
    expect(stderr).toContain("18 utterances of 9 speakers; speakers by severity and fold:");
    expect(existsSync(out)).toBe(false);
  });

  it("runs the baselines alone, into tables and a page", () => {
    const out = join(corpus.folder, "baselines");
    const { status, stdout } = severity(
      "baselines",
      recipe,
      "--classifiers",
      "svm",
      "--folds",
      "0",
      "--out",
      out,
    );
    expect(status).toBe(0);
    expect(stdout).toMatch(/\| Hand-crafted features +\| SVM +\| 1 /);
    for (const name of ["baselines.md", "baselines.json", "baselines.html"])
      expect(existsSync(join(out, name))).toBe(true);
    expect(readFileSync(join(out, "baselines.html"), "utf8")).not.toMatch(/<script|src="http/);
  });

  it("refuses bad input with status 2 and one sentence", () => {
    const bad = gradedCorpus();
    bad.utterances[0].speaker = "s1";
    writeManifestLines(bad.folder, bad.utterances);
    const said = spawnSync(process.execPath, [bin, "severity", "cv", recipe, "--data", bad.folder], {
      encoding: "utf8",
    });
    expect(said.status).toBe(2);
    expect(said.stderr).toMatch(/^voxsmith: speaker "s1" has severity 0 in utterance "s0-0" and 1 in "s1-0"/);
  });
});
