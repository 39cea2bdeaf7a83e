import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { readManifest, type Utterance, writeManifest } from "../../../corpus/manifest.ts";
import { splitCorpus } from "../../../corpus/splits.ts";
import { UserError } from "../../../errors.ts";
import { hash32 } from "../../../random.ts";
import type { Part } from "../../../train/data.ts";
import { printRecipe, type Recipe } from "../../../train/recipe.ts";
import { type Cell, type RunCell, runSweep, type SweepOutcome } from "../../../train/sweep.ts";
import { writeAtomically } from "../../../weights/file.ts";
import { CellProcesses } from "./cell-process.ts";
import { checkTranscripts, foldsOf, gradesOf, symbolsIn } from "./checks.ts";
import { type Roles, rolesOf } from "./roles.ts";
import { type Graded, readGraded } from "./scores.ts";

/**
 * A cross-validation as the severity paper's: each fold of speakers is once the test, the next one validates, the others
 * train. Runs ("cells") never see their fold's test part: it stands in no manifest that they are given.
 */

export interface Study {
  readonly recipe: Recipe;
  readonly roles: Roles;
  readonly utterances: readonly Utterance[];
  /** Grade and fold by speaker. */
  readonly grades: ReadonlyMap<string, string>;
  readonly foldOf: ReadonlyMap<string, number>;
  readonly folds: number;
  /** What the CTC head can write: all symbols of the corpus, or those that the recipe declares. */
  readonly symbols: readonly string[];
  /** Where its runs and tables stand. */
  readonly folder: string;
  /** Names corpus and division: results of another are refused. */
  readonly data: string;
}

/** How much the auxiliary task counts, and after how many epochs grading joins it. */
export interface Setting {
  readonly alpha: number;
  readonly e: number;
}

/** One run of a study. */
export interface StudyCell extends Cell {
  readonly alpha: number;
  readonly e: number;
  readonly fold: number;
}

/** Reads and checks the corpus and deals its speakers into folds. Writes nothing. @throws UserError for whatever is wrong */
export function openStudy(recipe: Recipe, dataFolder: string | undefined, folder: string): Study {
  const roles = rolesOf(recipe);
  const { split, manifest } = recipe.corpus;
  if (manifest === undefined) throw new UserError("corpus.synthetic: a severity study needs a manifest");
  if (split.by !== "folds")
    throw new UserError("corpus.split.by: a severity study needs `folds`, which keep speakers apart");
  if (split.validFolds < 1)
    throw new UserError(
      "corpus.split.validFolds: must be at least 1; without validation nothing can be selected",
    );
  if (split.folds < split.validFolds + 2)
    throw new UserError(
      `corpus.split.folds: ${split.folds} folds leave nothing to train on after 1 test and ${split.validFolds} validation`,
    );
  const utterances = readManifest(join(dataFolder ?? ".", manifest));
  const grades = gradesOf(utterances, roles);
  checkTranscripts(utterances, recipe, roles);
  const foldOf = foldsOf(utterances, grades, roles, split);
  const symbols = recipe.corpus.symbols ?? symbolsIn(utterances, recipe, roles);
  const key = utterances.map(({ id, audio, labels, speaker }) => [id, audio, labels, foldOf.get(speaker!)]);
  return {
    recipe,
    roles,
    utterances,
    grades,
    foldOf,
    folds: split.folds,
    symbols,
    folder,
    data: hash32(JSON.stringify(key)).toString(16),
  };
}

/** Train, validation and test utterances of the rotation in which `fold` is the test. */
export function partsOf({ recipe, utterances }: Study, fold: number): Record<Part, Utterance[]> {
  const { split } = recipe.corpus;
  if (split.by !== "folds") throw new UserError("corpus.split.by: must be `folds`");
  const { train, valid, test } = splitCorpus(utterances, { ...split, fold });
  return { train, valid, test };
}

/** The folder of a rotation's manifest: without its test part, or with all parts. */
const manifestFolder = (study: Study, fold: number, kind: "development" | "all") =>
  join(study.folder, "folds", String(fold), kind);

/** Writes the manifests of a rotation. */
function writeFold(study: Study, fold: number): void {
  const parts = partsOf(study, fold);
  const lines = (...names: Part[]) =>
    names.flatMap((split) => parts[split].map((utterance) => ({ ...utterance, split })));
  writeManifest(join(manifestFolder(study, fold, "development"), "manifest.jsonl"), lines("train", "valid"));
  writeManifest(join(manifestFolder(study, fold, "all"), "manifest.jsonl"), lines("train", "valid", "test"));
}

/**
 * The settings of a grid. Without the auxiliary task (alpha = 0) nothing could be learned in epochs without grading, so its
 * e is 0 and it is there once.
 */
export function settingsOf(alphas: readonly number[], epochs: readonly number[]): Setting[] {
  const all = alphas.flatMap((alpha) =>
    alpha === 0 ? [{ alpha, e: 0 }] : epochs.map((e) => ({ alpha, e })),
  );
  return all.filter(
    (one, i) => all.findIndex((other) => other.alpha === one.alpha && other.e === one.e) === i,
  );
}

/** A run of each setting, fold and seed; settings are the inner loop, so that a stopped study has compared what it has. */
export function cellsOf(
  study: Study,
  settings: readonly Setting[],
  folds: readonly number[],
  seeds: readonly number[],
): StudyCell[] {
  return seeds.flatMap((seed) =>
    folds.flatMap((fold) =>
      settings.map(({ alpha, e }) => ({
        name: `alpha${alpha}_e${e}_fold${fold}_seed${seed}`,
        setting: { alpha: String(alpha), e: String(e), fold: String(fold) },
        seed,
        alpha,
        e,
        fold,
        recipe: cellRecipe(study, { alpha, e }, seed),
      })),
    ),
  );
}

/** The study's recipe with one setting, over a rotation's manifest. @throws UserError where e leaves nothing of the run */
export function cellRecipe({ recipe, roles, symbols }: Study, { alpha, e }: Setting, seed: number): Recipe {
  if (alpha === 0 && e > 0)
    throw new UserError(
      `alpha 0 with e ${e}: without the auxiliary task the first ${e} epochs would have no loss; use e 0`,
    );
  const { epochs = recipe.steps === undefined ? 10 : undefined } = recipe;
  if (epochs !== undefined && e >= epochs)
    throw new UserError(`e ${e}: grading must begin before the run of ${epochs} epochs is over`);
  const { severity, phonemes, label, classes } = roles;
  const { model } = recipe.upstream;
  return {
    ...recipe,
    seed,
    upstream: {
      ...recipe.upstream,
      ...(model !== undefined && existsSync(model) && { model: resolve(model) }),
    },
    corpus: {
      ...recipe.corpus,
      manifest: "manifest.jsonl",
      classes: { ...recipe.corpus.classes, [label]: [...classes] },
      symbols: [...symbols],
      split: { by: "field", allowSpeakerOverlap: false },
    },
    objectives: {
      ...recipe.objectives,
      [severity]: {
        ...recipe.objectives[severity],
        from: e > 0 ? { epoch: e } : undefined,
        until: undefined,
      },
      [phonemes]: { ...recipe.objectives[phonemes], weight: alpha, from: undefined, until: undefined },
    },
    baseline: "none",
    // Of both kept models the paper shows the last in its figures and reports the best.
    checkpoint: { ...recipe.checkpoint, last: true },
  };
}

export interface RunOptions {
  readonly jobs: number;
  readonly threads: number;
  /** Seconds. */
  readonly budget?: number;
  readonly retryFailed?: boolean;
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
}

const cellsFolder = ({ folder }: Study) => join(folder, "cells");
export const cellFolder = (study: Study, { name }: Pick<Cell, "name">) => join(cellsFolder(study), name);

/** Runs the cells that have no result yet, several at once, in processes of their own. */
export async function runCells(
  study: Study,
  cells: readonly StudyCell[],
  options: RunOptions,
): Promise<SweepOutcome> {
  for (const fold of new Set(cells.map((cell) => cell.fold))) writeFold(study, fold);
  const foldByFolder = new Map(cells.map((cell) => [cellFolder(study, cell), cell.fold]));
  const processes = new CellProcesses(cellsFolder(study), options.signal);
  const runCell: RunCell = (recipe, folder) => {
    const data = manifestFolder(study, foldByFolder.get(folder)!, "development");
    const path = `${folder}.recipe.yaml`;
    writeRecipe(path, recipe);
    return processes.run({ kind: "train", recipe: path, data, out: folder, threads: options.threads });
  };
  const keys = ["alpha", "e", "fold"];
  try {
    return await runSweep(
      { keys, seeds: new Set(cells.map(({ seed }) => seed)).size, cells: [...cells] },
      { ...options, folder: cellsFolder(study), runCell, data: study.data },
    );
  } finally {
    processes.close();
  }
}

/** What a finished cell's best model says of its validation part. */
export const validAnswers = (study: Study, cell: StudyCell): Graded[] =>
  readGraded(join(cellFolder(study, cell), "predictions.jsonl"), "valid", study.roles);

/** What finished cells' best models say of their folds' test parts; each is evaluated when it is first asked for. */
export async function testAnswers(
  study: Study,
  cells: readonly StudyCell[],
  options: RunOptions,
): Promise<Map<StudyCell, Graded[]>> {
  const answers = new Map<StudyCell, Graded[]>();
  const processes = new CellProcesses(cellsFolder(study), options.signal);
  try {
    for (const cell of cells) {
      const run = cellFolder(study, cell);
      const predictions = join(run, "test.jsonl");
      if (!existsSync(predictions)) {
        if (options.signal.aborted) break;
        const data = manifestFolder(study, cell.fold, "all");
        await processes.run({ kind: "test", run, data, predictions, threads: options.threads });
      }
      answers.set(cell, readGraded(predictions, "test", study.roles));
    }
  } finally {
    processes.close();
  }
  return answers;
}

function writeRecipe(path: string, recipe: Recipe): void {
  const text = printRecipe(recipe);
  if (existsSync(path) && readFileSync(path, "utf8") === text) return;
  writeAtomically(path, (put) => put(Buffer.from(text)));
}
