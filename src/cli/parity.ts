import type { Command } from "commander";
import { PARITY_BARS, parity } from "../train/parity.ts";
import { newCommand, printResult, whole } from "./command.ts";

interface Options {
  json?: boolean;
  threads?: number;
}

export function command(): Command {
  return newCommand(
    "parity",
    "Runs a reference folder (a small model, its input, what PyTorch made of it) and prints the largest relative errors. Exits with 1 if one is over its bar.",
    ["parity ../shared/reference/wav2vec2-base"],
  )
    .argument(
      "<folder>",
      "config.json, model.safetensors, input.safetensors, expected.safetensors, meta.json",
    )
    .option("--threads <n>", "processor threads (default: all)", whole)
    .action(async (folder: string, options: Options) => {
      const report = await parity(folder, { threads: options.threads });
      const kinds = Object.keys(PARITY_BARS) as (keyof typeof PARITY_BARS)[];
      const lines = kinds.map(
        (kind) =>
          `${kind.padEnd(10)}  ${report.errors[kind].toExponential(2)}  (bar ${PARITY_BARS[kind].toExponential(0)})`,
      );
      const { kind, name, error } = report.worst;
      lines.push(`worst: ${kind} ${name} ${error.toExponential(2)}`, report.ok ? "ok" : "over the bar");
      printResult(options, report, lines.join("\n"));
      if (!report.ok) process.exitCode = 1;
    });
}
