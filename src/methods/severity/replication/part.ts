import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { LogRecord } from "../../../train/log.ts";
import type { BaselineSpec } from "../baselines/run.ts";
import { baselineRows, nameOf, rowOf } from "../study/protocol.ts";
import { chosen, gridOf, ranked, type Validated, validated } from "../study/select.ts";
import {
  cellFolder,
  cellsOf,
  type RunOptions,
  runCells,
  type Setting,
  type Study,
  type StudyCell,
  settingsOf,
  testAnswers,
} from "../study/study.ts";
import { type GridCell, type SystemRow, type SystemSummary, summarise } from "../study/tables.ts";

/** One corpus of the replication: the grid, the best of it against the single task and the baselines. */

export interface PartPlan {
  readonly title: string;
  readonly about: string;
  readonly study: Study;
  readonly alphas: readonly number[];
  readonly epochs: readonly number[];
  /** The rotation of the grid. */
  readonly gridFold: number;
  /** The rotations of the comparison; the grid's validation fold is the test of none of them. */
  readonly folds: readonly number[];
  readonly seeds: readonly number[];
  readonly best: number;
  readonly baselines: BaselineSpec;
}

/** Validation loss of the severity, evaluation by evaluation, from where grading is in force. */
export interface Curves {
  readonly single: readonly (readonly number[])[];
  readonly multi: readonly (readonly number[])[];
}

export interface PartOutcome {
  readonly title: string;
  readonly about: string;
  readonly settings: number;
  readonly grid: readonly GridCell[];
  readonly best: readonly Setting[];
  readonly folds: readonly number[];
  readonly seeds: readonly number[];
  readonly final: readonly SystemRow[];
  readonly summaries: readonly SystemSummary[];
  readonly curves: Curves;
  /** Runs and searches without a result. */
  readonly left: number;
}

/** Runs the part as far as the time goes: the grid, then the comparison, then the baselines. */
export async function runPart(
  plan: PartPlan,
  options: RunOptions & { left(): number | undefined },
): Promise<PartOutcome> {
  const { study, folds, seeds } = plan;
  const settings = settingsOf([...plan.alphas, 0], plan.epochs);
  const gridCells = cellsOf(study, settings, [plan.gridFold], seeds.slice(0, 1));
  const gridRuns = await runCells(study, gridCells, { ...options, budget: options.left() });
  const grid = gridOf(validated(study, gridCells, gridRuns));
  let left = gridRuns.left.length;

  const best = ranked(
    grid.filter(({ alpha }) => alpha > 0),
    "accuracy",
  ).slice(0, plan.best);
  // Chosen from a part of the grid it would be the best of another plan.
  const complete = gridRuns.left.length === 0 && best.length === plan.best;
  const finalCells = complete ? cellsOf(study, [...best, { alpha: 0, e: 0 }], folds, seeds) : [];
  const finalRuns = complete
    ? await runCells(study, finalCells, { ...options, budget: options.left() })
    : { results: new Map(), left: [] };
  left += complete ? finalRuns.left.length : (plan.best + 1) * folds.length * seeds.length;
  const found = validated(study, finalCells, finalRuns);
  const final = options.signal.aborted ? [] : await systems(plan, best, found, options);
  const searched = await baselineRows(study, plan.baselines, {
    ...options,
    folds,
    seeds,
    budget: options.left(),
  });
  left += searched.left;
  final.push(...searched.rows);
  const { classes } = study.roles;
  return {
    title: plan.title,
    about: plan.about,
    settings: settings.length,
    grid,
    best,
    folds,
    seeds,
    final,
    summaries: final.filter(({ runs }) => runs.length > 0).map((row) => summarise(row, classes)),
    curves: curvesOf(study, found),
    left,
  };
}

/** The models' rows: single task, each of the best settings, and of these the one that validation chooses in each run. */
async function systems(
  { study, folds, seeds, best: wanted }: PartPlan,
  best: readonly Setting[],
  found: readonly Validated[],
  options: RunOptions,
): Promise<SystemRow[]> {
  const toTest = found.map(({ cell }) => cell);
  const answers = await testAnswers(study, toTest, options);
  const all = folds.length * seeds.length;
  const row = (system: string, cells: readonly StudyCell[]): SystemRow => ({
    ...rowOf(system, cells, answers),
    left: all - cells.length,
  });
  const cellsWith = ({ alpha, e }: Setting) =>
    found.filter(({ cell }) => cell.alpha === alpha && cell.e === e).map(({ cell }) => cell);
  const picked = folds.flatMap((fold) =>
    seeds.flatMap((seed) => {
      const here = found.filter(({ cell }) => cell.alpha > 0 && cell.fold === fold && cell.seed === seed);
      const choice = here.length < wanted ? undefined : chosen(here, "accuracy");
      return choice === undefined
        ? []
        : here
            .filter(({ cell }) => cell.alpha === choice.alpha && cell.e === choice.e)
            .map(({ cell }) => cell);
    }),
  );
  return [
    row("STL", cellsWith({ alpha: 0, e: 0 })),
    ...best.map((setting) => row(nameOf(setting), cellsWith(setting))),
    row("MTL (chosen on validation)", picked),
  ];
}

/** Validation losses of the severity from the epoch on in which it counts. */
export function curvesOf(study: Study, runs: readonly Validated[]): Curves {
  const curve = ({ cell }: Validated): number[] => {
    const lines: LogRecord[] = readFileSync(join(cellFolder(study, cell), "log.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    return lines
      .filter(({ event }) => event === "valid")
      .slice(cell.e)
      .map(({ metrics }) => (metrics as Record<string, number>)[`${study.roles.severity}.loss`]);
  };
  return {
    single: runs.filter(({ cell }) => cell.alpha === 0).map(curve),
    multi: runs.filter(({ cell }) => cell.alpha > 0).map(curve),
  };
}
