import { classificationScores } from "../../../metrics/classification.ts";
import { random } from "../../../random.ts";
import { ACTIVATIONS, Mlp } from "./mlp.ts";
import { type Rows, Svm, squaredDistances } from "./svm.ts";
import { BoostedTrees } from "./trees.ts";

/**
 * The paper's classifiers over a table of features: settings are chosen on the validation part alone, and only the chosen
 * one is asked about the test part.
 */

export const CLASSIFIERS = ["svm", "mlp", "trees"] as const;
export type Classifier = (typeof CLASSIFIERS)[number];

export interface SearchTask {
  classifier: Classifier;
  train: { rows: Rows; labels: number[] };
  valid: { rows: Rows; labels: number[] };
  /** Without labels: a search has no use for them. */
  test: Rows;
  classes: number;
  /** Draws the perceptrons' settings, starts and orders. */
  seed: number;
  /** How many of the 320 settings of the perceptron are tried, drawn at random. */
  mlpSettings: number;
  /** Powers of ten that C and gamma take (default -4 to 4). */
  powers?: readonly number[];
}

export interface SearchResult {
  setting: Record<string, string | number>;
  tried: number;
  /** Accuracy and macro F1 of the chosen setting on the validation part. */
  valid: { accuracy: number; macroF1: number };
  /** Of the test rows. */
  predicted: number[];
  probabilities?: number[][];
  /** Columns that had any value and any variance in the training part. */
  columns: number;
  seconds: number;
}

interface Fitted {
  predict(rows: Rows): number[];
  probabilities?(rows: Rows): Float64Array[];
}

/** Chooses by accuracy, then macro F1, both of the validation part; the first of equals stays. */
export function search(task: SearchTask): SearchResult {
  const began = performance.now();
  const scaled = standardised(task);
  let best: { setting: SearchResult["setting"]; fitted: Fitted; valid: SearchResult["valid"] } | undefined;
  let tried = 0;
  for (const { setting, build } of candidates(task, scaled)) {
    tried++;
    const fitted = build();
    const { accuracy, macroF1 } = classificationScores(task.valid.labels, fitted.predict(scaled.valid));
    const better =
      best === undefined ||
      accuracy > best.valid.accuracy ||
      (accuracy === best.valid.accuracy && macroF1 > best.valid.macroF1);
    if (better) best = { setting, fitted, valid: { accuracy, macroF1 } };
  }
  const { setting, fitted, valid } = best!;
  return {
    setting,
    tried,
    valid,
    predicted: fitted.predict(scaled.test),
    probabilities: fitted.probabilities?.(scaled.test).map((row) => [...row]),
    columns: scaled.columns,
    seconds: (performance.now() - began) / 1000,
  };
}

interface Scaled {
  train: Rows;
  valid: Rows;
  test: Rows;
  columns: number;
}

/**
 * Zero mean and unit variance of each column as the training part has them. Columns without a value or without variance
 * there are left out. What is missing becomes the training mean, except for trees, which learn where to send it.
 */
export function standardised({ classifier, train, valid, test }: SearchTask): Scaled {
  const width = train.rows[0].length;
  const columns: { at: number; mean: number; sd: number }[] = [];
  for (let at = 0; at < width; at++) {
    const values = train.rows.map((row) => row[at]).filter((x) => !Number.isNaN(x));
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const sd = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length);
    if (sd > 1e-12 * Math.max(1, Math.abs(mean))) columns.push({ at, mean, sd });
  }
  const missing = classifier === "trees" ? Number.NaN : 0;
  const scale = (rows: Rows) =>
    rows.map((row) =>
      Float64Array.from(columns, ({ at, mean, sd }) =>
        Number.isNaN(row[at]) ? missing : (row[at] - mean) / sd,
      ),
    );
  return { train: scale(train.rows), valid: scale(valid.rows), test: scale(test), columns: columns.length };
}

interface Candidate {
  setting: SearchResult["setting"];
  build(): Fitted;
}

function candidates(task: SearchTask, scaled: Scaled): Candidate[] {
  const { train, classes } = task;
  switch (task.classifier) {
    case "svm": {
      const { powers = [-4, -3, -2, -1, 0, 1, 2, 3, 4] } = task;
      const own = squaredDistances(scaled.train, scaled.train);
      // Asked for the same parts again and again: their distances are measured once.
      const others = new Map<Rows, Float64Array>();
      const distances = (rows: Rows) => {
        if (!others.has(rows)) others.set(rows, squaredDistances(rows, scaled.train));
        return others.get(rows)!;
      };
      return powers.flatMap((c) =>
        powers.map((gamma) => ({
          setting: { C: 10 ** c, gamma: 10 ** gamma },
          build: () => {
            const svm = new Svm(own, train.labels, classes, { c: 10 ** c, gamma: 10 ** gamma });
            return { predict: (rows: Rows) => svm.predict(distances(rows)) };
          },
        })),
      );
    }
    case "mlp":
      return mlpSettings(task).map(({ layers, activation, solver, learningRate }) => ({
        setting: { layers, activation, solver, learningRate },
        build: () =>
          new Mlp(scaled.train, train.labels, classes, {
            layers,
            activation,
            solver,
            learningRate,
            seed: task.seed,
          }),
      }));
    case "trees":
      return [3, 4, 5].map((depth) => ({
        setting: { depth },
        build: () => {
          const trees = new BoostedTrees(scaled.train, train.labels, classes, { depth });
          return {
            predict: (rows: Rows) => trees.predict(rows),
            probabilities: (rows: Rows) => trees.margins(rows).map(softmax),
          };
        },
      }));
  }
}

/** The paper's grid of perceptrons, in an order that the seed draws: 1-10 layers, four activations, two solvers, four rates. */
function mlpSettings({ seed, mlpSettings: count }: SearchTask) {
  const all = Array.from({ length: 10 }, (_, l) => l + 1).flatMap((layers) =>
    ACTIVATIONS.flatMap((activation) =>
      (["adam", "sgd"] as const).flatMap((solver) =>
        [1e-4, 1e-3, 1e-2, 1e-1].map((learningRate) => ({ layers, activation, solver, learningRate })),
      ),
    ),
  );
  return random(seed, "mlp settings").shuffle(all).slice(0, count);
}

function softmax(margins: Float64Array): Float64Array {
  const top = Math.max(...margins);
  const odds = margins.map((m) => Math.exp(m - top));
  const sum = odds.reduce((a, b) => a + b, 0);
  return odds.map((o) => o / sum);
}
