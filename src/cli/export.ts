import { type Command, InvalidArgumentError, Option } from "commander";

import { RunError } from "../errors.ts";
import { OPSET, OPSETS } from "../tensor/onnx/write.ts";
import { locateModel } from "../train/locate.ts";
import { openModel } from "../train/open-model.ts";
import { checkExport, exportOnnx } from "../use/onnx/export.ts";
import { newCommand, printResult, whole } from "./command.ts";

interface Options {
  json?: boolean;
  to: string;
  out?: string;
  opset: number;
  quantize?: "int8";
  /** Seconds, or true where none were given. */
  fixedLength?: number | true;
  externalAbove?: number;
  check: boolean;
  threads?: number;
}

const FIXED_SECONDS = 10;

/** Largest relative error of an exported model that is not quantised. */
const PARITY = 1e-4;

export function command(): Command {
  return newCommand("export", "Writes a trained model for other runtimes.", [
    "export runs/fsdd-digits --to onnx --out fsdd-onnx",
    "export runs/fsdd-digits --to onnx --out fsdd-onnx --quantize int8",
  ])
    .argument("<model>", "the folder of a finished run, or any model that `extract` takes")
    .addOption(
      new Option("--to <format>", "format to write").choices(["onnx"]).makeOptionMandatory().default("onnx"),
    )
    .option("--out <folder>", "where to write (default: <model>-onnx)")
    .option("--opset <n>", `ONNX operator set, ${OPSETS[0]} to ${OPSETS.at(-1)}`, opset, OPSET)
    .addOption(new Option("--quantize <type>", "8-bit weights in matrix products").choices(["int8"]))
    .option(
      "--fixed-length [seconds]",
      "fix all sizes: one recording of so many seconds (10 if not said)",
      seconds,
    )
    .option("--external-above <bytes>", "more weights than this go into a file beside the model", whole)
    .option("--no-check", "do not compare the result with the model")
    .option("--threads <n>", "processor threads of the comparison (default: the run's, or all)", whole)
    .action(run);
}

async function run(path: string, options: Options): Promise<void> {
  const out = options.out ?? `${path.replace(/[/\\]+$/, "")}-onnx`;
  const located = await locateModel(path, (line) => process.stderr.write(`${line}\n`));
  const model = openModel(located.path);
  for (const note of model.notes) process.stderr.write(`${path}: ${note}\n`);
  const fixed = options.fixedLength === true ? FIXED_SECONDS : options.fixedLength;
  const file = await exportOnnx(out, model, {
    opset: options.opset,
    quantize: options.quantize === "int8",
    samples: fixed === undefined ? undefined : Math.round(fixed * model.audio.sampleRate),
    largest: options.externalAbove,
  });
  const [onnx] = file.files;
  const check = options.check ? await checkExport(onnx, model, { threads: options.threads }) : undefined;
  const megabytes = (file.bytes / 1e6).toFixed(1);
  const lines = [
    `${onnx}: ${megabytes} MB, operator set ${options.opset}${file.quantized ? `, ${file.quantized} products with 8-bit weights` : ""}`,
  ];
  if (check !== undefined)
    lines.push(
      `relative error against the trainer's own evaluation: ${check.error.toExponential(1)}`,
      `${check.seconds.toFixed(1)} s of audio in ${check.milliseconds.toFixed(0)} ms; the trainer's evaluation takes ${check.ownMilliseconds.toFixed(0)} ms`,
    );
  const result = { model: path, folder: out, ...file, opset: options.opset, check };
  printResult(options, result, lines.join("\n"));
  if (check !== undefined && options.quantize === undefined && !(check.error <= PARITY))
    throw new RunError(
      `${onnx}: differs from the trainer's evaluation by ${check.error.toExponential(1)}, more than ${PARITY}; do not use it, and please report it`,
    );
}

function opset(text: string): number {
  const value = Number(text);
  if (!OPSETS.includes(value)) throw new InvalidArgumentError(`It must be one of ${OPSETS.join(", ")}.`);
  return value;
}

function seconds(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value <= 600))
    throw new InvalidArgumentError("It must be seconds, above 0 and up to 600.");
  return value;
}
