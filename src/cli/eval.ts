import type { Command } from "commander";
import { evaluateRun, partOf } from "../train/evaluate-run.ts";
import { newCommand, printResult, whole } from "./command.ts";

interface Options {
  json?: boolean;
  data?: string;
  split: string;
  skipBad?: boolean;
  threads?: number;
  predictions?: string;
}

export function command(): Command {
  return newCommand("eval", "Evaluates the model of a finished run on a part of its corpus.", [
    "eval runs/fsdd-digits --data ../shared/data/fsdd --split test",
  ])
    .argument("<run>", "the folder of a finished run")
    .option("--data <folder>", "the folder that the recipe's manifest is in")
    .option("--split <part>", "train, valid or test", "test")
    .option("--skip-bad", "leave out and list bad manifest lines and recordings")
    .option("--threads <n>", "processor threads (default: the run's)", whole)
    .option("--predictions <file>", "write what it says of each utterance there, as lines of JSON")
    .action(async (folder: string, options: Options) => {
      const { predictions, ...result } = await evaluateRun(folder, partOf(options.split), {
        data: options.data,
        skipBad: options.skipBad ?? false,
        threads: options.threads,
        predictionsFile: options.predictions,
        log: (line) => process.stderr.write(`${line}\n`),
      });
      const shown = Object.entries(result.metrics).map(([name, value]) => `${name}  ${value.toFixed(4)}`);
      printResult(options, result, [...shown, `${predictions.length} utterances`].join("\n"));
    });
}
