import {
  type Bounded,
  type Graded,
  intervals,
  type SeverityScores,
  type Spread,
  severityScores,
  spreadOf,
} from "./scores.ts";
import type { Setting } from "./study.ts";

/** One system over all its folds and seeds: a line of the paper's Table 1. */
export interface SystemRow {
  /** What it grades by: raw audio, eGeMAPS, ... */
  readonly input: string;
  readonly system: string;
  readonly runs: readonly {
    readonly fold: number;
    readonly seed: number;
    readonly answers: readonly Graded[];
  }[];
  /** Folds and seeds without a result. */
  readonly left: number;
}

export type ScoreName = Exclude<keyof SeverityScores, "utterances" | "speakers">;

export interface SystemSummary {
  readonly input: string;
  readonly system: string;
  readonly runs: number;
  readonly left: number;
  readonly utterances: number;
  readonly speakers: number;
  /** Mean and spread over folds and seeds, as the paper's tables are read. */
  readonly scores: Partial<Record<ScoreName, Spread>>;
  /** Over all tested utterances together, with 95 % intervals drawn by speaker. */
  readonly pooled: Partial<Record<Bounded, { estimate: number; low: number; high: number }>>;
}

const NAMES: readonly ScoreName[] = [
  ...(["accuracy", "macroPrecision", "macroRecall", "macroF1", "kappa", "spearman"] as const),
  ...(["per", "speakerVote", "speakerMean"] as const),
];

export function summarise(
  { input, system, runs, left }: SystemRow,
  classes: readonly string[],
): SystemSummary {
  const each = runs.map(({ answers }) => severityScores(answers, classes));
  const all = runs.flatMap(({ answers }) => answers);
  const scores: SystemSummary["scores"] = {};
  for (const name of NAMES) {
    const values = each.map((one) => one[name]).filter((value) => value !== undefined);
    if (values.length > 0) scores[name] = spreadOf(values);
  }
  return {
    input,
    system,
    runs: runs.length,
    left,
    utterances: new Set(all.map(({ id }) => id)).size,
    speakers: new Set(all.map(({ speaker }) => speaker)).size,
    scores,
    pooled: all.length === 0 ? {} : intervals(all, classes),
  };
}

const percent = (value: number | undefined, digits = 1) =>
  value === undefined || !Number.isFinite(value) ? "-" : (100 * value).toFixed(digits);
const plain = (value: number | undefined) =>
  value === undefined || !Number.isFinite(value) ? "-" : value.toFixed(2);

/** The paper's Table 1, in percent, with intervals over speakers and what an ordinal scale asks for. */
export function tableOne(rows: readonly SystemSummary[]): string {
  const header = [
    ...["Input", "Classifier", "runs", "Accuracy", "95 % over speakers", "Precision", "Recall", "F1-score"],
    ...["kappa", "Spearman", "speakers: vote", "speakers: mean", "PER"],
  ];
  return markdown(
    header,
    rows.map(({ input, system, runs, left, scores: s, pooled }) => {
      const spread = (name: ScoreName) =>
        s[name] === undefined
          ? "-"
          : `${percent(s[name].mean)}${s[name].values.length > 1 ? ` ± ${percent(s[name].sd)}` : ""}`;
      const bounds = pooled.accuracy;
      return [
        input,
        system,
        left > 0 ? `${runs} (${left} not run)` : String(runs),
        spread("accuracy"),
        bounds === undefined || Number.isNaN(bounds.low)
          ? "-"
          : `${percent(bounds.low)} to ${percent(bounds.high)}`,
        percent(s.macroPrecision?.mean),
        percent(s.macroRecall?.mean),
        spread("macroF1"),
        plain(s.kappa?.mean),
        plain(s.spearman?.mean),
        percent(s.speakerVote?.mean),
        percent(s.speakerMean?.mean),
        s.per === undefined ? "-" : spread("per"),
      ];
    }),
  );
}

/** One cell of the grid: what its runs say of the part that chooses (or tests). */
export interface GridCell extends Setting {
  readonly scores: readonly SeverityScores[];
}

/** A score of each setting, mean over its runs: values[e][alpha], NaN where nothing has run. */
export function gridValues(cells: readonly GridCell[], name: ScoreName) {
  const alphas = [...new Set(cells.map(({ alpha }) => alpha))].filter((a) => a > 0).sort((a, b) => b - a);
  const epochs = [...new Set(cells.filter(({ alpha }) => alpha > 0).map(({ e }) => e))].sort((a, b) => a - b);
  const at = (alpha: number, e: number) => {
    const scores = cells.find((cell) => cell.alpha === alpha && cell.e === e)?.scores ?? [];
    return spreadOf(scores.map((one) => one[name] ?? Number.NaN)).mean;
  };
  return {
    alphas,
    epochs,
    values: epochs.map((e) => alphas.map((alpha) => at(alpha, e))),
    /** Without the auxiliary task. */
    single: at(0, 0),
  };
}

/** The paper's Table 2: accuracy and phone error rate of each setting, in percent. */
export function tableTwo(cells: readonly GridCell[]): string {
  const table = (title: string, name: ScoreName) => {
    const { alphas, epochs, values, single } = gridValues(cells, name);
    const rows = epochs.map((e, i) => [`e = ${e}`, ...values[i].map((value) => percent(value, 2))]);
    const alone = Number.isFinite(single)
      ? `\n\nWithout the auxiliary task (alpha = 0): ${percent(single, 2)}.`
      : "";
    return `${markdown([title, ...alphas.map((alpha) => `alpha = ${alpha}`)], rows)}${alone}`;
  };
  return `${table("Accuracy", "accuracy")}\n\n${table("PER", "per")}`;
}

/** A Markdown table whose columns stand under each other. */
export function markdown(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((name, i) => Math.max(3, name.length, ...rows.map((row) => row[i].length)));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i])).join(" | ")} |`;
  return [line(header), `|${widths.map((w) => "-".repeat(w + 2)).join("|")}|`, ...rows.map(line)].join("\n");
}

/** One line a setting with the means of all scores, for spreadsheets. */
export function gridCsv(cells: readonly GridCell[]): string {
  const lines = cells.map(({ alpha, e, scores }) => [
    alpha,
    e,
    scores.length,
    ...NAMES.map((name) => {
      const { mean } = spreadOf(scores.map((one) => one[name] ?? Number.NaN));
      return Number.isFinite(mean) ? mean : "";
    }),
  ]);
  return `${[["alpha", "e", "runs", ...NAMES], ...lines].map((line) => line.join(",")).join("\n")}\n`;
}
