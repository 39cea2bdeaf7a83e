import { existsSync, readdirSync } from "node:fs";
import { type Command, InvalidArgumentError, Option } from "commander";
import { UserError } from "../errors.ts";
import { type Measured, shrinkRun } from "../methods/router/shrink.ts";
import { newCommand, printResult, whole } from "./command.ts";

interface Options {
  json?: boolean;
  out: string;
  ffn: number;
  heads: number;
  by: "magnitude" | "scores";
  threads?: number;
}

export function command(): Command {
  return newCommand(
    "prune",
    "Takes whole feed-forward channels and attention heads out of a finished run's model, and measures what that buys.",
    ["prune runs/dutch --ffn 0.5 --heads 0.25 --out runs/dutch-small"],
  )
    .argument("<run>", "the folder of a finished run, or a mask pack")
    .requiredOption("--out <folder>", "where the smaller model goes")
    .option("--ffn <share>", "share of feed-forward channels to take out of each layer", share, 0)
    .option("--heads <share>", "share of attention heads to take out of each layer", share, 0)
    .addOption(
      new Option(
        "--by <what>",
        "what counts: magnitudes of effective weights, or the scores of a run with masks",
      )
        .choices(["magnitude", "scores"])
        .default("magnitude"),
    )
    .option("--threads <n>", "processor threads of the measurement", whole)
    .action(async (folder: string, options: Options) => {
      if (options.ffn === 0 && options.heads === 0)
        throw new InvalidArgumentError("prune: name a share of --ffn channels or --heads to take out");
      if (existsSync(options.out) && readdirSync(options.out).length > 0)
        throw new UserError(`${options.out}: is not empty; choose another --out`);
      const report = await shrinkRun(folder, options.out, options);
      const { before, after, channels, heads } = report;
      const shown = ({ parameters, megabytes, forwardMs }: Measured) =>
        `${(parameters / 1e6).toFixed(2)} M parameters, ${megabytes.toFixed(1)} MB, ${forwardMs.toFixed(1)} ms over 10 s of audio`;
      printResult(
        options,
        report,
        [
          `${options.out}: ${channels.join(" to ")} channels, ${heads.join(" to ")} heads a layer`,
          `before: ${shown(before)}`,
          `after: ${shown(after)}`,
        ].join("\n"),
      );
    });
}

function share(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0 && value < 1))
    throw new InvalidArgumentError("It must be a share of at least 0 and below 1.");
  return value;
}
