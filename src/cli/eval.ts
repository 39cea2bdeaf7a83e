import type { Command } from "commander";
import { UserError } from "../errors.ts";
import { evaluateRun, partOf } from "../train/evaluate-run.ts";
import { evaluateOnnx, type OnnxEvaluation } from "../use/onnx/evaluate.ts";
import { newCommand, printResult, whole } from "./command.ts";

interface Options {
  json?: boolean;
  data?: string;
  split: string;
  skipBad?: boolean;
  onnx?: string;
  threads?: number;
  predictions?: string;
}

export function command(): Command {
  return newCommand("eval", "Evaluates the model of a finished run on a part of its corpus.", [
    "eval runs/fsdd-digits --data ../shared/data/fsdd --split test",
    "eval runs/fsdd-digits --data ../shared/data/fsdd --onnx fsdd-onnx/onnx/model_quantized.onnx",
  ])
    .argument("<run>", "the folder of a finished run")
    .option("--data <folder>", "the folder that the recipe's manifest is in")
    .option("--split <part>", "train, valid or test", "test")
    .option("--onnx <file>", "evaluate this exported model instead of the run's own")
    .option("--skip-bad", "leave out and list bad manifest lines and recordings")
    .option("--threads <n>", "processor threads (default: the run's)", whole)
    .option("--predictions <file>", "write what it says of each utterance there, as lines of JSON")
    .action(async (folder: string, options: Options) => {
      const shared = {
        data: options.data,
        skipBad: options.skipBad ?? false,
        threads: options.threads,
        log: (line: string) => void process.stderr.write(`${line}\n`),
      };
      const part = partOf(options.split);
      if (options.onnx !== undefined && options.predictions !== undefined)
        throw new UserError("--predictions: is not written with --onnx");
      const { predictions, ...result }: Awaited<ReturnType<typeof evaluateRun>> & Partial<OnnxEvaluation> =
        options.onnx === undefined
          ? await evaluateRun(folder, part, { ...shared, predictionsFile: options.predictions })
          : await evaluateOnnx(folder, part, options.onnx, shared);
      const shown = Object.entries(result.metrics).map(([name, value]) => `${name}  ${value.toFixed(4)}`);
      shown.push(`${predictions.length} utterances`);
      if (result.modelSeconds !== undefined && result.audioSeconds !== undefined)
        shown.push(
          `${result.audioSeconds.toFixed(1)} s of audio in ${result.modelSeconds.toFixed(1)} s of the model`,
        );
      printResult(options, result, shown.join("\n"));
    });
}
