import { writeAtomically } from "../../../weights/file.ts";
import { type BaselineSpec, runBaselines } from "../baselines/run.ts";
import type { Graded } from "./scores.ts";
import { type Criterion, chosen, gridOf, validated } from "./select.ts";
import {
  cellsOf,
  type RunOptions,
  runCells,
  type Setting,
  type Study,
  type StudyCell,
  testAnswers,
} from "./study.ts";
import {
  type GridCell,
  type SystemRow,
  type SystemSummary,
  summarise,
  tableOne,
  tableTwo,
} from "./tables.ts";

/** Cross-validation of one setting, and of a grid whose choice is made inside each fold. */

export interface ProtocolOptions extends RunOptions {
  readonly folds: readonly number[];
  readonly seeds: readonly number[];
  readonly select: Criterion;
  /** None leaves the baselines out. */
  readonly baselines?: BaselineSpec;
}

export interface ProtocolOutcome {
  readonly rows: readonly SystemRow[];
  readonly summaries: readonly SystemSummary[];
  /** Of a grid: what each setting reached on the validation parts. */
  readonly grid: readonly GridCell[];
  /** Of a grid: the setting that validation chose in each fold. */
  readonly choices: readonly (Setting & { readonly fold: number; readonly valid: number })[];
  readonly failed: readonly { readonly name: string; readonly error: string }[];
  /** Runs and searches without a result. */
  readonly left: number;
}

/** The input column of what hears raw audio. */
export const RAW = "Raw audio";
const INPUTS = {
  egemaps: "eGeMAPS",
  "hand-crafted": "Hand-crafted features",
  both: "eGeMAPS + hand-crafted",
};
const CLASSIFIERS = { svm: "SVM", mlp: "MLP", trees: "boosted trees" };

export const nameOf = ({ alpha, e }: Setting): string =>
  alpha === 0 ? "STL" : `MTL, alpha = ${alpha}, e = ${e}`;

/** Every given setting on every fold and seed, each tested: no choice is made, so none can go wrong. */
export async function crossValidate(
  study: Study,
  settings: readonly Setting[],
  options: ProtocolOptions,
): Promise<ProtocolOutcome> {
  const cells = cellsOf(study, settings, options.folds, options.seeds);
  const runs = await runCells(study, cells, options);
  const done = validated(study, cells, runs).map(({ cell }) => cell);
  const answers = await testAnswers(study, done, options);
  const rows = settings.map((setting) => rowOf(nameOf(setting), cells.filter(sameSetting(setting)), answers));
  return finish(study, rows, [], [], cells, runs, options);
}

/** The baselines alone: minutes instead of hours, and what any model has to beat. */
export const baselinesOnly = (
  study: Study,
  _: readonly Setting[],
  options: ProtocolOptions,
): Promise<ProtocolOutcome> => finish(study, [], [], [], [], { results: new Map(), left: [] }, options);

/**
 * A grid on every fold. In each fold the setting that does best on its validation part is chosen (over all seeds), and only
 * its runs are then asked about the test part; the single task, where the grid has it, is tested beside it.
 */
export async function searchGrid(
  study: Study,
  settings: readonly Setting[],
  options: ProtocolOptions,
): Promise<ProtocolOutcome> {
  const cells = cellsOf(study, settings, options.folds, options.seeds);
  const runs = await runCells(study, cells, options);
  const found = validated(study, cells, runs);
  const multi = settings.filter(({ alpha }) => alpha > 0);
  const choices = options.folds.flatMap((fold) => {
    const here = found.filter(({ cell }) => cell.fold === fold && cell.alpha > 0);
    // A choice from a part of the grid would be the choice of another grid.
    const best =
      here.length === multi.length * options.seeds.length ? chosen(here, options.select) : undefined;
    return best === undefined
      ? []
      : [{ alpha: best.alpha, e: best.e, fold, valid: meanOf(best, options.select) }];
  });
  const picked = found.filter(({ cell }) =>
    choices.some(({ alpha, e, fold }) => cell.fold === fold && cell.alpha === alpha && cell.e === e),
  );
  const single = found.filter(({ cell }) => cell.alpha === 0);
  const toTest = [...picked, ...single].map(({ cell }) => cell);
  const answers = await testAnswers(study, toTest, options);
  const wanted = options.folds.length * options.seeds.length;
  const rows: SystemRow[] = [];
  if (settings.some(({ alpha }) => alpha === 0))
    rows.push(rowOf("STL", cells.filter(sameSetting({ alpha: 0, e: 0 })), answers));
  const chosenCells = picked.map(({ cell }) => cell);
  rows.push({
    ...rowOf("MTL, chosen on validation", chosenCells, answers),
    left: wanted - chosenCells.length,
  });
  return finish(study, rows, gridOf(found), choices, cells, runs, options);
}

const sameSetting = (setting: Setting) => (cell: Setting) =>
  cell.alpha === setting.alpha && cell.e === setting.e;
const meanOf = ({ scores }: GridCell, by: Criterion) =>
  scores.reduce((sum, one) => sum + one[by], 0) / scores.length;

export function rowOf(
  system: string,
  cells: readonly StudyCell[],
  answers: ReadonlyMap<StudyCell, Graded[]>,
): SystemRow {
  const runs = cells.flatMap((cell) => {
    const of = answers.get(cell);
    return of === undefined ? [] : [{ fold: cell.fold, seed: cell.seed, answers: of }];
  });
  return { input: RAW, system, runs, left: cells.length - runs.length };
}

/** Only the perceptron begins by chance, and is searched with each seed. */
const searchesOf = ({ sets, classifiers }: BaselineSpec, folds: number, seeds: number): number =>
  sets.length * folds * classifiers.reduce((sum, name) => sum + (name === "mlp" ? seeds : 1), 0);

/** Rows of the baselines over the same folds. */
export async function baselineRows(
  study: Study,
  spec: BaselineSpec,
  options: RunOptions & Pick<ProtocolOptions, "folds" | "seeds">,
): Promise<{ rows: SystemRow[]; left: number }> {
  const { folds, seeds } = options;
  // What the searches hear takes minutes by itself.
  const { results, left } = options.signal.aborted
    ? { results: [], left: searchesOf(spec, folds.length, seeds.length) }
    : await runBaselines(study, folds, seeds, spec, options);
  const rows = spec.sets.flatMap((set) =>
    spec.classifiers.map((classifier): SystemRow => {
      const of = results.filter((one) => one.set === set && one.classifier === classifier);
      return {
        input: INPUTS[set],
        system: CLASSIFIERS[classifier],
        runs: of.map(({ fold, seed, answers }) => ({ fold, seed, answers })),
        left: folds.length * (classifier === "mlp" ? seeds.length : 1) - of.length,
      };
    }),
  );
  return { rows, left };
}

async function finish(
  study: Study,
  models: SystemRow[],
  grid: GridCell[],
  choices: ProtocolOutcome["choices"],
  cells: readonly StudyCell[],
  runs: Awaited<ReturnType<typeof runCells>>,
  options: ProtocolOptions,
): Promise<ProtocolOutcome> {
  const baselines =
    options.baselines === undefined || options.signal.aborted
      ? { rows: [], left: 0 }
      : await baselineRows(study, options.baselines, options);
  const rows = [...baselines.rows, ...models];
  return {
    rows,
    summaries: rows.filter((row) => row.runs.length > 0).map((row) => summarise(row, study.roles.classes)),
    grid,
    choices,
    failed: cells.flatMap((cell) => {
      const result = runs.results.get(cell);
      return result?.status === "failed" ? [{ name: cell.name, error: result.error ?? "" }] : [];
    }),
    left: runs.left.length + baselines.left,
  };
}

/** The study's tables as one Markdown document. */
export function protocolTables({ summaries, grid, choices, failed, left }: ProtocolOutcome): string {
  const parts: string[] = [];
  if (summaries.length > 0)
    parts.push(
      "Test parts, speakers never heard; mean ± standard deviation over folds and seeds, in percent:",
      tableOne(summaries),
    );
  if (grid.length > 0)
    parts.push("The grid on the validation parts, which choose; no test part is in it:", tableTwo(grid));
  if (choices.length > 0)
    parts.push(
      `Chosen on validation: ${choices.map(({ fold, alpha, e, valid }) => `fold ${fold}: alpha = ${alpha}, e = ${e} (${(100 * valid).toFixed(1)} %)`).join("; ")}.`,
    );
  if (failed.length > 0)
    parts.push(["Failed runs:", ...failed.map(({ name, error }) => `- ${name}: ${error}`)].join("\n"));
  if (left > 0) parts.push(`${left} runs have no result yet; the same command goes on.`);
  return `${parts.join("\n\n")}\n`;
}

/** Writes a document whole. */
export function writeText(path: string, text: string): void {
  writeAtomically(path, (put) => put(Buffer.from(text)));
}
