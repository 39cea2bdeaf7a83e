import type { SweepOutcome } from "../../../train/sweep.ts";
import type { SeverityScores } from "./scores.ts";
import { severityScores } from "./scores.ts";
import { type Study, type StudyCell, validAnswers } from "./study.ts";
import type { GridCell } from "./tables.ts";

/** A run with what it says of its validation part. */
export interface Validated {
  readonly cell: StudyCell;
  readonly scores: SeverityScores;
}

/** The finished runs of a sweep, scored on their validation parts. */
export const validated = (
  study: Study,
  cells: readonly StudyCell[],
  { results }: SweepOutcome,
): Validated[] =>
  cells
    .filter((cell) => results.get(cell)?.status === "finished")
    .map((cell) => ({ cell, scores: severityScores(validAnswers(study, cell), study.roles.classes) }));

/** What each setting reached on validation. */
export function gridOf(runs: readonly Validated[]): GridCell[] {
  const cells = new Map<string, GridCell & { scores: SeverityScores[] }>();
  for (const { cell, scores } of runs) {
    const { alpha, e } = cell;
    const key = `${alpha} ${e}`;
    if (!cells.has(key)) cells.set(key, { alpha, e, scores: [] });
    cells.get(key)!.scores.push(scores);
  }
  return [...cells.values()];
}

export type Criterion = "accuracy" | "macroF1" | "kappa";

/**
 * The settings of a grid from the best on, by their mean on validation parts. Equals go by macro F1, then by the lower phone
 * error rate, then to the setting that postpones less.
 */
export function ranked(cells: readonly GridCell[], by: Criterion): GridCell[] {
  const of = ({ scores }: GridCell, name: keyof SeverityScores) => {
    const values = scores.map((one) => one[name] ?? Number.NaN).filter(Number.isFinite);
    return values.length === 0 ? Number.NEGATIVE_INFINITY : values.reduce((a, b) => a + b, 0) / values.length;
  };
  // Sums of the same values in another order differ in the last bit; that is no difference.
  const compare = (a: number, b: number) => (a === b || Math.abs(a - b) < 1e-12 ? 0 : b - a);
  return [...cells].sort(
    (a, b) =>
      compare(of(a, by), of(b, by)) ||
      compare(of(a, "macroF1"), of(b, "macroF1")) ||
      compare(-of(a, "per"), -of(b, "per")) ||
      a.e - b.e,
  );
}

/** Of one fold's runs (all seeds of it), the setting that does best on the validation part; the test part has no say. */
export const chosen = (runs: readonly Validated[], by: Criterion): GridCell | undefined =>
  ranked(gridOf(runs), by)[0];
