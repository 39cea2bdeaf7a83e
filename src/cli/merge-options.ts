import { type Command, InvalidArgumentError, Option } from "commander";
import { METHODS, type MergeSpec } from "../merge/spec.ts";

/** What the options of a merge give. */
export type MergeOptions = Partial<Omit<MergeSpec, "method" | "alpha">> & { method: MergeSpec["method"] };

/** The options that say how models are merged, `--alpha` aside. */
export function withMergeOptions(command: Command): Command {
  return command
    .addOption(new Option("--method <name>", "how").choices(METHODS).default("interpolate"))
    .option("--lambda <number>", "a factor beside alpha, for ties and arithmetic (default: 1)", number)
    .option(
      "--weights <list>",
      "a number for each tuned model; signs count in arithmetic (default: all 1)",
      numbers,
    )
    .option("--density <share>", "entries that ties (0.2) and dare (0.1) keep", number)
    .addOption(
      new Option(
        "--scope <name>",
        "ties: entries compete in the whole model or in their tensor (default: model)",
      ).choices(["model", "tensor"]),
    )
    .addOption(
      new Option(
        "--elect <name>",
        "signs elected by sum, by count or not (default: mass for ties, none for dare)",
      ).choices(["mass", "count", "none"]),
    )
    .option("--seed <n>", "dare: what is dropped follows from it (default: 1)", number)
    .addOption(
      new Option(
        "--weight-norm <name>",
        "merge weight normalisation as stored, as the paper does, or its effective weight (default: stored)",
      ).choices(["stored", "effective"]),
    )
    .addOption(
      new Option(
        "--heads <name>",
        "task heads: merged where all models have the same, or dropped (default: auto)",
      ).choices(["auto", "drop"]),
    );
}

/** Parser of an option that is a number. */
export function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("It must be a number.");
  return value;
}

/** Parser of an option that is a list of numbers with commas. */
export const numbers = (text: string): number[] => text.split(",").map(number);
