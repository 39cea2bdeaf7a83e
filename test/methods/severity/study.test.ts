import { existsSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { readManifest, type Utterance } from "../../../src/corpus/manifest.ts";
import {
  type ProtocolOutcome,
  protocolTables,
  searchGrid,
} from "../../../src/methods/severity/study/protocol.ts";
import {
  cellFolder,
  cellRecipe,
  cellsOf,
  openStudy,
  partsOf,
  settingsOf,
} from "../../../src/methods/severity/study/study.ts";
import type { Stream } from "../../../src/train/data.ts";
import { UpdateOrder } from "../../../src/train/order.ts";
import { parseRecipe } from "../../../src/train/recipe.ts";
import { gradedCorpus, gradedRecipe, writeManifestLines } from "./graded-corpus.ts";

const corpus = gradedCorpus();
const scratch = () => mkdtempSync(join(tmpdir(), "study-"));
const studyOf = (changes: Record<string, unknown> = {}, folder = scratch()) =>
  openStudy(parseRecipe(gradedRecipe(changes), "graded.yaml"), corpus.folder, folder);

describe("bad input is one sentence before anything is trained", () => {
  const said = (change: (utterances: Utterance[]) => void, recipe: Record<string, unknown> = {}) => {
    const bad = gradedCorpus();
    change(bad.utterances);
    writeManifestLines(bad.folder, bad.utterances);
    const out = scratch();
    expect(() => openStudy(parseRecipe(gradedRecipe(recipe), "graded.yaml"), bad.folder, out)).toThrow(
      expect.objectContaining({ name: "UserError" }),
    );
    expect(readdirSync(out)).toEqual([]);
    try {
      openStudy(parseRecipe(gradedRecipe(recipe), "graded.yaml"), bad.folder, out);
    } catch (error) {
      return (error as Error).message;
    }
    return "";
  };
  const corpusWith = (more: Record<string, unknown>) => ({
    corpus: { ...JSON.parse(gradedRecipe()).corpus, ...more },
  });

  it("two speakers with the same id and different severity", () => {
    expect(said((all) => void (all[2].speaker = "s0"))).toBe(
      'speaker "s0" has severity 0 in utterance "s0-0" and 1 in "s1-0": two people share an id, or one was graded twice; give each person (or each session) an id of its own',
    );
  });
  it("a class missing from a fold", () => {
    const drop = (all: Utterance[]) =>
      void all.splice(0, all.length, ...all.filter((u) => u.speaker !== "s2"));
    expect(said(drop)).toMatch(
      /^fold \d has no speaker of severity 2, which has 2 in all: add speakers, or merge the class with its neighbour$/,
    );
  });
  it("one speaker in a class, or none", () => {
    const only = (speakers: string[]) => (all: Utterance[]) =>
      void all.splice(
        0,
        all.length,
        ...all.filter((u) => Number(u.labels!.severity) < 2 || speakers.includes(u.speaker!)),
      );
    expect(said(only(["s5"]))).toMatch(
      /^severity 2 has a single speaker, "s5": what is learned of one voice/,
    );
    expect(said(only([]))).toMatch(
      /^severity 2 has no speaker in this corpus; take it out of corpus.classes.severity/,
    );
  });
  it("labels outside the classes", () => {
    expect(said((all) => void (all[3].labels!.severity = 7))).toBe(
      'utterance "s1-1" has severity 7, which is none of the classes 0, 1, 2',
    );
  });
  it("empty transcripts", () => {
    expect(said((all) => void (all[4].phones = []))).toMatch(
      /^utterance "s2-0" has an empty transcript; write down/,
    );
  });
  it("phones outside the vocabulary", () => {
    expect(
      said((all) => void (all[5].phones = ["a", "ø"]), corpusWith({ symbols: ["a", "b", "c"] })),
    ).toMatch(/^utterance "s2-1" has the symbol "ø", which is not in the vocabulary of 4 symbols/);
  });
  it("a speaker without a name, folds that leave nothing to train on, no order of the classes", () => {
    expect(said((all) => void delete all[0].speaker)).toMatch(/^utterance "s0-0" names no speaker/);
    expect(said(() => {}, corpusWith({ split: { by: "folds", folds: 2 } }))).toMatch(
      /^corpus.split.folds: 2 folds leave/,
    );
    expect(said(() => {}, corpusWith({ classes: undefined }))).toMatch(
      /^corpus.classes: must name the grades of severity/,
    );
  });
});

describe("the rotation", () => {
  it("has no speaker in two parts, every class in every part, and another test fold each time", () => {
    const study = studyOf();
    const tested: string[] = [];
    for (let fold = 0; fold < 3; fold++) {
      const parts = partsOf(study, fold);
      const voices = Object.values(parts).map((part) => new Set(part.map(({ speaker }) => speaker!)));
      expect(new Set(voices.flatMap((set) => [...set])).size).toBe(
        voices.reduce((n, set) => n + set.size, 0),
      );
      for (const part of Object.values(parts))
        expect(new Set(part.map(({ labels }) => labels!.severity))).toEqual(new Set([0, 1, 2]));
      tested.push(...voices[2]);
      expect(partsOf(study, (fold + 1) % 3).test).toEqual(parts.valid);
    }
    expect(tested.sort()).toEqual([...study.grades.keys()].sort());
  });

  it("without the auxiliary task has e 0 and no other", () => {
    expect(settingsOf([0.1, 0], [0, 10])).toEqual([
      { alpha: 0.1, e: 0 },
      { alpha: 0.1, e: 10 },
      { alpha: 0, e: 0 },
    ]);
    expect(() => cellRecipe(studyOf(), { alpha: 0, e: 2 }, 1)).toThrow(
      "alpha 0 with e 2: without the auxiliary task",
    );
    expect(() => cellRecipe(studyOf(), { alpha: 1, e: 3 }, 1)).toThrow(
      "e 3: grading must begin before the run of 3 epochs",
    );
  });

  it("gives every run the same symbols, the blank one of its own before them", () => {
    const { corpus: spec, objectives } = cellRecipe(studyOf(), { alpha: 0.1, e: 1 }, 7);
    expect(spec.symbols).toEqual(["a", "b", "c"]);
    expect(spec.split).toEqual({ by: "field", allowSpeakerOverlap: false });
    expect(objectives.severity.from).toEqual({ epoch: 1 });
    expect(cellRecipe(studyOf(), { alpha: 0, e: 0 }, 7).objectives.severity.from).toBeUndefined();
  });

  it("uses up at the end of an epoch what accumulation has left over", () => {
    const items = Array.from({ length: 6 }, () => ({
      samples: 100,
      frames: 1,
      utterance: { id: "", audio: "" },
      targets: {},
    }));
    const stream = {
      name: "main",
      items,
      parts: { train: [0, 1, 2, 3, 4, 5], valid: [], test: [] },
      batch: { size: 1, accumulate: 4, maxSeconds: 60 },
      spec: { sampleRate: 16_000, maxSeconds: 30 },
    } as unknown as Stream;
    const order = new UpdateOrder(stream, 1);
    for (const epoch of [0, 1]) {
      expect(order.epoch(epoch).map((update) => update.length)).toEqual([4, 2]);
      expect(order.epoch(epoch).flat(2).sort()).toEqual([0, 1, 2, 3, 4, 5]);
    }
  });
});

describe("a grid", () => {
  const out = scratch();
  const study = studyOf({}, out);
  const settings = settingsOf([0.001, 0], [0, 1]);
  const said: string[] = [];
  const options = {
    ...{ folds: [0], seeds: [1], select: "accuracy" as const, jobs: 2, threads: 1 },
    signal: new AbortController().signal,
    log: (line: string) => void said.push(line),
  };
  let outcome: ProtocolOutcome;
  beforeAll(async () => {
    outcome = await searchGrid(study, settings, options);
  }, 120_000);
  const cells = cellsOf(study, settings, [0], [1]);

  it("shows the test part to the chosen run and the single task only", () => {
    expect(outcome.failed).toEqual([]);
    const [choice] = outcome.choices;
    const asked = cells.filter((cell) => existsSync(join(cellFolder(study, cell), "test.jsonl")));
    expect(asked.map(({ alpha, e }) => ({ alpha, e }))).toEqual(
      expect.arrayContaining([
        { alpha: choice.alpha, e: choice.e },
        { alpha: 0, e: 0 },
      ]),
    );
    expect(asked).toHaveLength(2);
    expect(outcome.rows.map(({ system, runs }) => [system, runs.length])).toEqual([
      ["STL", 1],
      ["MTL, chosen on validation", 1],
    ]);
  });

  it("gives runs a manifest in which no test utterance is", () => {
    const given = readManifest(join(out, "folds", "0", "development"));
    const { train, valid, test } = partsOf(study, 0);
    expect(given.map(({ id }) => id).sort()).toEqual([...train, ...valid].map(({ id }) => id).sort());
    expect(given.some(({ speaker }) => test.some((u) => u.speaker === speaker))).toBe(false);
    const known = JSON.parse(readFileSync(join(cellFolder(study, cells[0]), "targets.json"), "utf8"));
    expect(known.phonemes.symbols).toEqual(["<pad>", "a", "b", "c"]);
    expect(known.phonemes.options.blank).toBe(0);
  });

  it("keeps the best and the last model, and never a best from before grading began", () => {
    for (const cell of cells) {
      const folder = cellFolder(study, cell);
      for (const name of ["model.safetensors", "last/model.safetensors", "predictions.jsonl"])
        expect(existsSync(join(folder, name))).toBe(true);
      const log = readFileSync(join(folder, "log.jsonl"), "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
      const valid = log.filter(({ event }) => event === "valid");
      expect(valid).toHaveLength(3);
      const best = valid.filter((line) => line.best).at(-1);
      // With alpha = 0.001 the loss of the first stretch, CTC alone, is lower than any later one: it must not win.
      if (cell.e > 0) expect(valid[0].loss).toBeLessThan(best.loss);
      expect(valid.indexOf(best)).toBeGreaterThanOrEqual(cell.e);
    }
  });

  it("goes on where it was: nothing runs twice", async () => {
    said.length = 0;
    const again = await searchGrid(study, settings, options);
    expect(said).toEqual(expect.arrayContaining([expect.stringMatching(/^0 to run/)]));
    expect(again.summaries).toEqual(outcome.summaries);
  });

  it("ends in tables", () => {
    const tables = protocolTables(outcome);
    expect(tables).toMatch(/\| Raw audio \| STL +\| 1 /);
    expect(tables).toMatch(/\| e = 1 +\| [\d.]+ +\|/);
    expect(tables).toContain("Without the auxiliary task (alpha = 0): ");
  });
});
