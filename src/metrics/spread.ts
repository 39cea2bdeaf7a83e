/** Several values of one figure, over seeds or folds. */
export interface Spread {
  readonly mean: number;
  /** Sample standard deviation; null for fewer than two values. */
  readonly sd: number | null;
}

/** Mean and sample standard deviation; NaN and null of no values. */
export function spread(values: readonly number[]): Spread {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const squares = values.reduce((sum, x) => sum + (x - mean) ** 2, 0);
  return { mean, sd: values.length < 2 ? null : Math.sqrt(squares / (values.length - 1)) };
}
