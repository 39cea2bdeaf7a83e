import type { Command } from "commander";
import { readTable, requireColumns, type Table } from "../corpus/formats/table.ts";
import { closest, quote, UserError } from "../errors.ts";
import { type SuperbMetric, superbEndPoints, superbScore } from "../metrics/superb-score.ts";
import { newCommand, printResult } from "./command.ts";

const metrics = Object.keys(superbEndPoints) as SuperbMetric[];

export function command(): Command {
  return newCommand(
    "score",
    "SUPERB scores of a table of results: 0 is log-mel features, 1000 the state of the art; the mean over the tasks that a row has.",
    ["score results.csv", "score results.csv --json"],
  )
    .argument(
      "<table>",
      `CSV or TSV with a column name and any of ${metrics.join(", ")} (per cent; QbE as it is)`,
    )
    .action((path: string, options: { json?: boolean }) => {
      const scored = scoreTable(readTable(path));
      for (const { name, missing } of scored)
        if (missing !== undefined)
          process.stderr.write(`${name}: slot filling is scored without ${missing}\n`);
      const width = Math.max(...scored.map(({ name }) => name.length));
      const lines = scored.map(
        ({ name, score, tasks }) =>
          `${name.padEnd(width)}  ${score.toFixed(2).padStart(8)}  ${tasks.join(" ")}`,
      );
      printResult(
        options,
        scored.map(({ name, score }) => ({ name, score })),
        lines.join("\n"),
      );
    });
}

interface Scored {
  name: string;
  score: number;
  tasks: string[];
  /** The metric of slot filling that is not there although the other is. */
  missing?: SuperbMetric;
}

/** Scores every row. @throws UserError naming file, line and column */
export function scoreTable(table: Table): Scored[] {
  requireColumns(table, ["name"]);
  const columns = metrics.filter((metric) => table.columns.includes(metric));
  checkColumns(table, columns);
  if (table.rows.length === 0) throw new UserError(`${table.file}: has no rows below its heading`);
  return table.rows.map(({ line, cells }) => {
    const results: Partial<Record<SuperbMetric, number>> = {};
    for (const metric of columns) {
      const text = cells[metric]?.trim() ?? "";
      if (text === "") continue;
      results[metric] = metricValue(text, metric, `${table.file}:${line}`);
    }
    const { score, tasks } = superbScore(results);
    if (Number.isNaN(score))
      throw new UserError(`${table.file}:${line}: the row ${quote(cells.name)} has no metric`);
    const missing = (["SF_F1", "SF_CER"] as const).filter((metric) => results[metric] === undefined);
    return {
      name: cells.name,
      score,
      tasks: Object.keys(tasks),
      ...(missing.length === 1 && { missing: missing[0] }),
    };
  });
}

function metricValue(text: string, metric: SuperbMetric, where: string): number {
  const value = Number(text);
  if (!Number.isFinite(value))
    throw new UserError(`${where}: ${metric} is ${quote(text)}; it must be a number`);
  // The only metric that is no percentage: 11.25 for .1125 would score 105,000.
  if (metric === "QbE" && value > 1)
    throw new UserError(`${where}: QbE is ${text}; the term-weighted value is at most 1 (not per cent)`);
  return value;
}

/** Columns of one's own are welcome; what looks like a metric in another spelling is not. */
function checkColumns({ file, columns }: Table, known: readonly SuperbMetric[]): void {
  const plain = (name: string) => name.toUpperCase().replace(/[^A-Z0-9]/g, "");
  for (const column of columns) {
    if (column === "name" || (known as readonly string[]).includes(column)) continue;
    const meant = metrics.find((metric) => plain(metric) === plain(column));
    if (meant !== undefined)
      throw new UserError(`${file}: the column ${quote(column)} is unknown; did you mean "${meant}"?`);
  }
  if (known.length > 0) return;
  const near = columns.map((column) => closest(column, metrics)).find((metric) => metric !== undefined);
  const hint = near === undefined ? "" : `; did you mean "${near}"?`;
  throw new UserError(`${file}: none of the columns is a metric (${metrics.join(", ")})${hint}`);
}
