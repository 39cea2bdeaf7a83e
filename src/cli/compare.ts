import type { Command } from "commander";
import { type Comparison, compareRuns, type EstimatedError } from "../report/compare-runs.ts";
import { partOf } from "../train/evaluate-run.ts";
import { newCommand, printResult } from "./command.ts";

interface Options {
  json?: boolean;
  split: string;
}

export function command(): Command {
  return newCommand(
    "compare",
    "Compares two finished runs on the utterances that both judged: each error with a 95 % bootstrap interval (over speakers where ten or more are known), and a paired test of the difference.",
    ["compare runs/digits-a runs/digits-b"],
  )
    .argument("<first>", "the folder of a finished run")
    .argument("<second>", "the folder of another one")
    .option("--split <part>", "valid or test", "test")
    .action((first: string, second: string, options: Options) => {
      const comparisons = compareRuns(first, second, partOf(options.split));
      printResult(options, { first, second, comparisons }, comparisons.flatMap(lines).join("\n"));
    });
}

function lines({ objective, error, utterances, by, ...c }: Comparison): string[] {
  // A mean absolute error has the unit of its label; all others are shares.
  const percent = error !== "mean absolute error";
  const shown = (x: number) => (percent ? `${(100 * x).toFixed(2)} %` : x.toPrecision(4));
  const withInterval = ({ value, low, high }: EstimatedError) =>
    `${shown(value)}  [${shown(low)}, ${shown(high)}]`;
  const mcNemar = c.mcNemar === undefined ? "" : `, McNemar p = ${c.mcNemar.toPrecision(3)}`;
  return [
    `${objective}: ${error} of ${utterances} utterances, intervals over ${by}s`,
    `  first       ${withInterval(c.first)}`,
    `  second      ${withInterval(c.second)}`,
    `  difference  ${withInterval(c.difference)}  paired bootstrap p = ${c.difference.p.toPrecision(3)}${mcNemar}`,
  ];
}
