import { join } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
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
        log: (line) => process.stderr.write(`${line}\n`),
      }).finally(dispose);
      if (result.status === "interrupted") {
        process.stderr.write(
          `saved after step ${result.step}; go on with: ${resumeCommand(process.argv.slice(2))}\n`,
        );
        process.exitCode = 130;
      }
      const shown = Object.entries(result.metrics).map(([name, value]) => `${name}  ${value.toFixed(4)}`);
      printResult(options, result, [...shown, `${result.status}: ${out}`].join("\n"));
    });
}

/** The command that was given, with `--resume` and without `--overwrite`, which would start anew. */
function resumeCommand(args: readonly string[]): string {
  const kept = args.filter((arg) => arg !== "--overwrite" && arg !== "--resume");
  const quoted = kept.map((arg) =>
    /^[\w./=:@%+,-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", "'\\''")}'`,
  );
  return `voxsmith ${quoted.join(" ")} --resume`;
}
