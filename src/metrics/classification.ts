/** Classification metrics with scikit-learn's conventions (a ratio with a zero denominator counts as 0). */

export type Label = string | number;

/** The labels that occur, sorted: numbers by size, strings by code unit. */
export function labelsIn<L extends Label>(...lists: readonly (readonly L[])[]): L[] {
  return [...new Set(lists.flat())].sort((a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : a < b ? -1 : a > b ? 1 : 0,
  );
}

/** Share of equal pairs; NaN for no pairs. */
export function accuracy(truth: readonly Label[], predicted: readonly Label[]): number {
  checkPairs(truth, predicted);
  return truth.reduce<number>((hits, y, i) => hits + (y === predicted[i] ? 1 : 0), 0) / truth.length;
}

export interface ConfusionMatrix<L extends Label = Label> {
  labels: L[];
  /** counts[i][j]: how many of true label i were called j. */
  counts: number[][];
}

/** Counts over `labels` (default: those that occur); a pair with a label outside the list is an error. */
export function confusionMatrix<L extends Label>(
  truth: readonly L[],
  predicted: readonly L[],
  labels: readonly L[] = labelsIn(truth, predicted),
): ConfusionMatrix<L> {
  checkPairs(truth, predicted);
  const position = new Map(labels.map((label, i) => [label, i]));
  const counts = labels.map(() => labels.map(() => 0));
  const at = (label: L) => {
    const i = position.get(label);
    if (i === undefined) throw new RangeError(`label ${label} is not among ${labels.join(", ")}`);
    return i;
  };
  truth.forEach((y, i) => {
    counts[at(y)][at(predicted[i])]++;
  });
  return { labels: [...labels], counts };
}

export interface ClassScores<L extends Label = Label> {
  label: L;
  precision: number;
  recall: number;
  f1: number;
  /** How many items truly have the label. */
  support: number;
}

export interface ClassificationScores<L extends Label = Label> {
  accuracy: number;
  /** Unweighted means over `labels`. */
  macroPrecision: number;
  macroRecall: number;
  macroF1: number;
  classes: ClassScores<L>[];
}

/** Per-class and macro scores over `labels` (default: those in truth or predictions, as scikit-learn). */
export function classificationScores<L extends Label>(
  truth: readonly L[],
  predicted: readonly L[],
  labels: readonly L[] = labelsIn(truth, predicted),
): ClassificationScores<L> {
  checkPairs(truth, predicted);
  const tally = new Map(labels.map((label) => [label, { hits: 0, called: 0, support: 0 }]));
  truth.forEach((y, i) => {
    const [real, said] = [tally.get(y), tally.get(predicted[i])];
    if (real) real.support++;
    if (said) said.called++;
    if (real && y === predicted[i]) real.hits++;
  });
  const ratio = (a: number, b: number) => (b === 0 ? 0 : a / b);
  const classes = [...tally].map(([label, { hits, called, support }]) => ({
    label,
    precision: ratio(hits, called),
    recall: ratio(hits, support),
    f1: ratio(2 * hits, called + support),
    support,
  }));
  const macro = (pick: (one: ClassScores<L>) => number) =>
    classes.reduce((sum, one) => sum + pick(one), 0) / classes.length;
  return {
    accuracy: accuracy(truth, predicted),
    macroPrecision: macro((one) => one.precision),
    macroRecall: macro((one) => one.recall),
    macroF1: macro((one) => one.f1),
    classes,
  };
}

/**
 * Cohen's kappa with quadratic weights: 1 - sum w O / sum w E with w_ij = (i - j)^2 (Cohen 1968). Distances are between
 * positions in `labels`, so name all grades of an ordinal scale, in order, even those that do not occur. NaN where all
 * items have one label on both sides.
 */
export function quadraticKappa<L extends Label>(
  truth: readonly L[],
  predicted: readonly L[],
  labels: readonly L[] = labelsIn(truth, predicted),
): number {
  const { counts } = confusionMatrix(truth, predicted, labels);
  const rows = counts.map((row) => row.reduce((a, b) => a + b, 0));
  const columns = labels.map((_, j) => counts.reduce((sum, row) => sum + row[j], 0));
  let observed = 0;
  let expected = 0;
  counts.forEach((row, i) => {
    row.forEach((count, j) => {
      observed += (i - j) ** 2 * count;
      expected += ((i - j) ** 2 * rows[i] * columns[j]) / truth.length;
    });
  });
  return 1 - observed / expected;
}

function checkPairs(truth: readonly unknown[], predicted: readonly unknown[]): void {
  if (truth.length !== predicted.length)
    throw new RangeError(`${truth.length} true labels but ${predicted.length} predictions`);
}
