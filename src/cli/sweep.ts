import { join } from "node:path";
import type { Command } from "commander";
import { RunError } from "../errors.ts";
import { planSweep, type RunCell, runSweep } from "../train/sweep.ts";
import { csvTable, markdownTable, sweepTable } from "../train/sweep-table.ts";
import { writeAtomically } from "../weights/file.ts";
import { collect, hours, interruptSignal, newCommand, printResult, whole } from "./command.ts";

interface Options {
  json?: boolean;
  seeds: number;
  budget?: number;
  out?: string;
  data?: string;
  set: string[];
  retryFailed?: boolean;
}

/** `voxsmith sweep`; what runs a cell is given, so that tests can run it without training anything. */
export function sweepCommand(runCell: (data: string | undefined) => RunCell): Command {
  return newCommand(
    "sweep",
    "Runs a recipe over a grid of settings and seeds, resumable, with one table of mean, spread and failed runs at the end.",
    ["sweep recipes/fsdd/digits.yaml optimizer.lr=3e-4,1e-3 --seeds 3 --budget 2 --data ../shared/data/fsdd"],
  )
    .argument("<recipe>", "the recipe to vary")
    .argument("[key=a,b,c...]", "recipe keys and their values; several keys make a grid")
    .option("--seeds <n>", "runs of each setting, with seeds that follow the recipe's", whole, 1)
    .option("--budget <hours>", "start no run that is expected to end later than this", hours)
    .option("--data <folder>", "the corpus, as for `voxsmith train`")
    .option("--out <folder>", "where runs and tables go (default: runs/sweep-NAME)")
    .option("--set <key=value>", "set a recipe key in all runs; may be repeated", collect, [])
    .option("--retry-failed", "run again what failed in an earlier call")
    .action(async (recipePath: string, axes: string[], options: Options) => {
      const plan = planSweep(recipePath, axes, options.seeds, options.set);
      const folder = options.out ?? join("runs", `sweep-${plan.cells[0].recipe.name}`);
      const { signal, dispose } = interruptSignal("stopping; the same command goes on from here");
      const outcome = await runSweep(plan, {
        folder,
        runCell: runCell(options.data),
        budget: options.budget && options.budget * 3600,
        retryFailed: options.retryFailed,
        data: options.data,
        signal,
        log: (line) => process.stderr.write(`${line}\n`),
      }).finally(dispose);

      const rows = sweepTable(plan, outcome);
      const table = markdownTable(rows);
      const result = { folder, left: outcome.left.map((cell) => cell.name), rows };
      write(join(folder, "table.json"), `${JSON.stringify(result, null, 2)}\n`);
      write(join(folder, "table.csv"), csvTable(rows));
      write(join(folder, "table.md"), table);
      printResult(
        options,
        result,
        `${table}\n${join(folder, "table.md")}, table.csv and table.json hold this table.`,
      );
      if (signal.aborted)
        throw new RunError(`stopped with ${outcome.left.length} runs left; the same command goes on`);
      if (![...outcome.results.values()].some((each) => each.status === "finished"))
        throw new RunError("no run finished; the table says why");
    });
}

function write(path: string, text: string): void {
  writeAtomically(path, (put) => put(Buffer.from(text)));
}
