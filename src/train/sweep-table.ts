import { type Spread, spread } from "../metrics/spread.ts";
import type { CellResult, SweepOutcome, SweepPlan } from "./sweep.ts";

/** One setting over its seeds. */
export interface SweepRow {
  setting: Record<string, string>;
  finished: number;
  failed: number;
  /** Runs that the budget left out. */
  left: number;
  metrics: Record<string, Range>;
  errors: string[];
}

export interface Range extends Spread {
  readonly min: number;
  readonly max: number;
}

/** Mean and spread of each metric for each setting, over the runs that finished; failed ones are counted beside. */
export function sweepTable(plan: SweepPlan, outcome: SweepOutcome): SweepRow[] {
  const rows = new Map<string, { row: SweepRow; results: CellResult[] }>();
  for (const cell of plan.cells) {
    const key = JSON.stringify(cell.setting);
    if (!rows.has(key)) {
      const row: SweepRow = {
        setting: cell.setting,
        finished: 0,
        failed: 0,
        left: 0,
        metrics: {},
        errors: [],
      };
      rows.set(key, { row, results: [] });
    }
    const { row, results } = rows.get(key)!;
    const result = outcome.results.get(cell);
    if (result === undefined) row.left++;
    else {
      row[result.status]++;
      results.push(result);
      if (result.error) row.errors.push(`seed ${cell.seed}: ${result.error}`);
    }
  }
  for (const { row, results } of rows.values()) {
    const finished = results.filter((result) => result.status === "finished");
    for (const name of new Set(finished.flatMap((result) => Object.keys(result.metrics)))) {
      const values = finished.map((result) => result.metrics[name]).filter((value) => value !== undefined);
      row.metrics[name] = { ...spread(values), min: Math.min(...values), max: Math.max(...values) };
    }
  }
  return [...rows.values()].map(({ row }) => row);
}

/** One line a setting and metric column with mean ± standard deviation, as Markdown. */
export function markdownTable(rows: readonly SweepRow[]): string {
  const keys = Object.keys(rows[0]?.setting ?? {});
  const metrics = metricNames(rows);
  const header = [...keys, "runs", "failed", ...metrics];
  const lines = rows.map((row) => [
    ...keys.map((key) => row.setting[key]),
    row.left > 0 ? `${row.finished} (${row.left} not run)` : String(row.finished),
    String(row.failed),
    ...metrics.map((name) => {
      const s = row.metrics[name];
      return s === undefined ? "-" : s.sd === null ? show(s.mean) : `${show(s.mean)} ± ${show(s.sd)}`;
    }),
  ]);
  const widths = header.map((name, i) => Math.max(3, name.length, ...lines.map((line) => line[i].length)));
  const draw = (cells: string[]) => `| ${cells.map((cell, i) => cell.padEnd(widths[i])).join(" | ")} |`;
  const errors = rows.flatMap((row) =>
    row.errors.map((error) => `- ${keys.map((key) => `${key}=${row.setting[key]}`).join(" ")} ${error}`),
  );
  return [
    draw(header),
    `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`,
    ...lines.map(draw),
    ...(errors.length > 0 ? ["", "Failed runs:", "", ...errors] : []),
    "",
  ].join("\n");
}

/** One line a setting, with mean, sd, min and max of each metric in columns of their own. */
export function csvTable(rows: readonly SweepRow[]): string {
  const keys = Object.keys(rows[0]?.setting ?? {});
  const metrics = metricNames(rows);
  const parts = ["mean", "sd", "min", "max"] as const;
  const header = [
    ...keys,
    "finished",
    "failed",
    "left",
    ...metrics.flatMap((name) => parts.map((part) => `${name}.${part}`)),
  ];
  const lines = rows.map((row) => [
    ...keys.map((key) => row.setting[key]),
    row.finished,
    row.failed,
    row.left,
    ...metrics.flatMap((name) => parts.map((part) => row.metrics[name]?.[part] ?? "")),
  ]);
  return `${[header, ...lines].map((line) => line.map(csvField).join(",")).join("\n")}\n`;
}

const metricNames = (rows: readonly SweepRow[]) => [
  ...new Set(rows.flatMap((row) => Object.keys(row.metrics))),
];

/** RFC 4180: fields with commas, quotes or line breaks are quoted. */
function csvField(value: string | number): string {
  const text = String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Four significant digits, without exponents where they would only hurt the eye. */
function show(value: number): string {
  if (value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e6)) return value.toExponential(3);
  return String(Number(value.toPrecision(4)));
}
