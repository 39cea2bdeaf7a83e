import { type Command, InvalidArgumentError, Option } from "commander";

import { RunError } from "../errors.ts";
import { OPSET, OPSETS } from "../tensor/onnx/write.ts";
import { locateModel } from "../train/locate.ts";
import { openModel, openPack } from "../train/open-model.ts";
import { readPack } from "../train/pack.ts";
import { checkExport, type ExportCheck, type ExportOptions, exportOnnx } from "../use/onnx/export.ts";
import { checkRouted, exportRouted, type RoutedFile } from "../use/onnx/routed.ts";
import type { OnnxFile } from "../use/onnx/write.ts";
import { collect, newCommand, printResult, whole } from "./command.ts";

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
  pack: string[];
  backbone?: string;
  maskInputs?: boolean;
  threads?: number;
}

const FIXED_SECONDS = 10;

/** Largest relative error of an exported model that is not quantised. */
const PARITY = 1e-4;

export function command(): Command {
  return newCommand("export", "Writes a trained model for other runtimes.", [
    "export runs/fsdd-digits --to onnx --out fsdd-onnx",
    "export runs/fsdd-digits --to onnx --out fsdd-onnx --quantize int8",
    "export --pack nl.pack --out nl-onnx",
    "export --pack nl.pack --pack fr.pack --mask-inputs --out both-onnx",
  ])
    .argument("[model]", "the folder of a finished run, or any model that `extract` takes")
    .option("--pack <file>", "a mask pack instead, its masks applied to the weights", collect, [])
    .option("--mask-inputs", "one model for all packs: masks and heads are inputs, a file each in `tasks`")
    .option("--backbone <model>", "the packs' backbone (default: where their runs had it)")
    .addOption(
      new Option("--to <format>", "format to write").choices(["onnx"]).makeOptionMandatory().default("onnx"),
    )
    .option("--out <folder>", "where to write (default: <model>-onnx, or routed-onnx with --mask-inputs)")
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

async function run(path: string | undefined, options: Options): Promise<void> {
  const { pack: packs, backbone } = options;
  if ((path === undefined) === (packs.length === 0))
    throw new InvalidArgumentError("export: name a model or --pack files, and not both");
  if (backbone !== undefined && packs.length === 0)
    throw new InvalidArgumentError("--backbone: is that of --pack files");
  if (options.maskInputs) return exportTasks(options);
  if (packs.length > 1)
    throw new InvalidArgumentError("--pack: several packs make one model with --mask-inputs, else one each");
  const name = path ?? packs[0];
  const out = options.out ?? `${name.replace(/[/\\]+$/, "")}-onnx`;
  const model =
    packs.length === 0
      ? openModel((await locateModel(name, (line) => process.stderr.write(`${line}\n`))).path)
      : openPack(name, backbone);
  for (const note of model.notes) process.stderr.write(`${name}: ${note}\n`);
  const file = await exportOnnx(out, model, exportOptions(options, model.audio.sampleRate));
  const check = options.check
    ? await checkExport(file.files[0], model, { threads: options.threads })
    : undefined;
  report(options, { model: name, folder: out, ...file, opset: options.opset, check });
}

/** One model with masks as inputs. */
async function exportTasks(options: Options): Promise<void> {
  const { pack: packs, backbone, threads, out = "routed-onnx" } = options;
  if (packs.length === 0) throw new InvalidArgumentError("--mask-inputs: needs --pack files");
  const { sampleRate } = readPack(packs[0]).recipe.corpus;
  const file = await exportRouted(out, packs, { ...exportOptions(options, sampleRate), backbone });
  const check = options.check ? await checkRouted(file, packs, { threads, backbone }) : undefined;
  report(options, { model: packs, folder: out, ...file, opset: options.opset, check });
}

function exportOptions(options: Options, sampleRate: number): ExportOptions {
  const fixed = options.fixedLength === true ? FIXED_SECONDS : options.fixedLength;
  return {
    opset: options.opset,
    quantize: options.quantize === "int8",
    samples: fixed === undefined ? undefined : Math.round(fixed * sampleRate),
    largest: options.externalAbove,
  };
}

type Exported = OnnxFile & {
  model: string | readonly string[];
  folder: string;
  opset: number;
  check?: ExportCheck;
  tasks?: RoutedFile["tasks"];
};

/** Prints what was written. @throws RunError where it says something else than the trainer's evaluation */
function report(options: Options, file: Exported): void {
  const { check, tasks } = file;
  const [onnx] = file.files;
  const megabytes = (file.bytes / 1e6).toFixed(1);
  const lines = [
    `${onnx}: ${megabytes} MB, operator set ${options.opset}${file.quantized ? `, ${file.quantized} products with 8-bit weights` : ""}`,
  ];
  if (tasks !== undefined)
    lines.push(`masks and heads of ${Object.keys(tasks).join(", ")}: ${Object.values(tasks).join(", ")}`);
  if (check !== undefined)
    lines.push(
      `relative error against the trainer's own evaluation: ${check.error.toExponential(1)}`,
      `${check.seconds.toFixed(1)} s of audio in ${check.milliseconds.toFixed(0)} ms; the trainer's evaluation takes ${check.ownMilliseconds.toFixed(0)} ms`,
    );
  printResult(options, file, lines.join("\n"));
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
