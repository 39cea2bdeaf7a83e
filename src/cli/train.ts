import { join } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { publishRun } from "../report/of-run.ts";
import { readRecipe } from "../train/recipe.ts";
import { train } from "../train/trainer.ts";
import { collect, interruptSignal, newCommand, printResult, whole } from "./command.ts";

interface Options {
  json?: boolean;
  data?: string;
  out?: string;
  set: string[];
  resume?: boolean;
  overwrite?: boolean;
  skipBad?: boolean;
  threads?: number;
}

export function command(): Command {
  return newCommand(
    "train",
    "Trains a recipe into a run folder. The same command goes on with what Ctrl-C or a crash left there.",
    ["train recipes/fsdd/digits.yaml --data ../shared/data/fsdd"],
  )
    .argument("<recipe>", "what to train")
    .option("--data <folder>", "the folder that the recipe's manifest is in")
    .option("--out <folder>", "the run's folder (default: runs/NAME)")
    .option("--set <key=value>", "set a recipe key; may be repeated", collect, [])
    .option("--resume", "go on with an unfinished run, and fail where there is none")
    .option("--overwrite", "replace the run that the folder holds")
    .option(
      "--skip-bad",
      "leave out and list bad manifest lines and recordings instead of stopping at the first",
    )
    .option("--threads <n>", "processor threads (default: the recipe's)", whole)
    .action(async (path: string, options: Options) => {
      if (options.resume && options.overwrite)
        throw new InvalidArgumentError("--resume and --overwrite exclude each other");
      const threads = options.threads === undefined ? [] : [`threads=${options.threads}`];
      const recipe = readRecipe(path, [...options.set, ...threads]);
      const out = options.out ?? join("runs", recipe.name);
      const { signal, dispose } = interruptSignal("saving after this step; Ctrl-C again stops at once");
      const result = await train(recipe, {
        data: options.data,
        out,
        resume: options.resume,
        overwrite: options.overwrite,
        skipBad: options.skipBad ?? false,
        signal,
        publish: (folder, metrics) => publishRun(folder, metrics, trainCommand(path, options)),
        log: (line) => process.stderr.write(`${line}\n`),
      }).finally(dispose);
      if (result.status === "interrupted") {
        process.stderr.write(
          `saved after step ${result.step}; go on with: ${trainCommand(path, options)} --resume\n`,
        );
        process.exitCode = 130;
      }
      const shown = Object.entries(result.metrics).map(([name, value]) => `${name}  ${value.toFixed(4)}`);
      printResult(options, result, [...shown, `${result.status}: ${out}`].join("\n"));
    });
}

/** The command that makes this run. */
function trainCommand(recipe: string, { data, out, set, skipBad, threads }: Options): string {
  const option = (name: string, value: string | number | undefined) =>
    value === undefined ? [] : [name, String(value)];
  const words = [
    ...["voxsmith", "train", recipe],
    ...option("--data", data),
    ...option("--out", out),
    ...set.flatMap((each) => ["--set", each]),
    ...(skipBad ? ["--skip-bad"] : []),
    ...option("--threads", threads),
  ];
  return words
    .map((word) => (/^[\w./=:@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(" ");
}
