import { type Command, InvalidArgumentError } from "commander";
import { UserError } from "../errors.ts";
import { evaluateTaskPacks } from "../superb/packed.ts";
import { evaluatePacks, type PackEvaluation } from "../train/evaluate-packs.ts";
import { evaluateRun, partOf } from "../train/evaluate-run.ts";
import type { LmOptions } from "../train/lm-decoding.ts";
import { isTaskPack } from "../train/pack.ts";
import { evaluateOnnx, type OnnxEvaluation } from "../use/onnx/evaluate.ts";
import { writeAtomically } from "../weights/file.ts";
import { collect, newCommand, printResult, whole } from "./command.ts";

interface Options {
  json?: boolean;
  data?: string;
  split: string;
  skipBad?: boolean;
  onnx?: string;
  threads?: number;
  predictions?: string;
  pack: string[];
  backbone?: string;
  manifest?: string;
  route?: string;
  lm?: string;
  lexicon?: string;
  beam?: number;
  lmWeight?: number;
  wordScore?: number;
}

export function command(): Command {
  return newCommand(
    "eval",
    "Evaluates the model of a finished run on a part of its corpus, or mask packs over one backbone, each on the utterances of its language.",
    [
      "eval runs/fsdd-digits --data ../shared/data/fsdd --split test",
      "eval runs/fsdd-digits --data ../shared/data/fsdd --onnx fsdd-onnx/onnx/model_quantized.onnx",
      "eval --pack nl.pack --pack fr.pack --route language --manifest both.jsonl --data corpora",
      "eval --pack ks.pack --pack sid.pack --data corpora",
    ],
  )
    .argument("[run]", "the folder of a finished run")
    .option("--pack <file>", "a mask pack instead of a run; may be repeated", collect, [])
    .option("--backbone <model>", "the packs' backbone (default: where their runs had it)")
    .option(
      "--manifest <file>",
      "the corpus for packs, in the folder of --data (default: the first pack's recipe's)",
    )
    .option("--route <label>", "label of the manifest that names the pack of each utterance")
    .option(
      "--data <folder>",
      "the folder that the recipe's manifest is in; of SUPERB's tasks the one that holds all corpora",
    )
    .option(
      "--lm <path>",
      "decode CTC heads with an n-gram model, compiled (`voxsmith lm compile`) or ARPA; heads of loss `attention` with a recurrent one (`voxsmith lm train`)",
    )
    .option(
      "--lexicon <file>",
      "the model is over these words, a line each with its labels; else over labels",
    )
    .option(
      "--beam <n>",
      "prefixes that survive a frame, with an n-gram model (default: 50); sequences of an attention head (default: the recipe's)",
      whole,
    )
    .option("--lm-weight <x>", "factor of the model's log probability (default: 2, recurrent 0.5)", finite)
    .option("--word-score <x>", "added for each word, or label without a lexicon (default: -1)", finite)
    .option("--split <part>", "train, valid or test", "test")
    .option("--onnx <file>", "evaluate this exported model instead of the run's own")
    .option("--skip-bad", "leave out and list bad manifest lines and recordings")
    .option("--threads <n>", "processor threads (default: the run's)", whole)
    .option("--predictions <file>", "write what it says of each utterance there, as lines of JSON")
    .action(async (folder: string | undefined, options: Options) => {
      if ((folder === undefined) === (options.pack.length === 0))
        throw new InvalidArgumentError("eval: name a run or --pack files, and not both");
      if (folder === undefined) return printPacks(options);
      const shared = {
        data: options.data,
        skipBad: options.skipBad ?? false,
        threads: options.threads,
        log: (line: string) => void process.stderr.write(`${line}\n`),
      };
      const part = partOf(options.split);
      if (options.onnx !== undefined && options.predictions !== undefined)
        throw new UserError("--predictions: is not written with --onnx");
      if (options.onnx !== undefined && options.lm !== undefined)
        throw new UserError("--lm: does not go with --onnx");
      const { predictions, ...result }: Awaited<ReturnType<typeof evaluateRun>> & Partial<OnnxEvaluation> =
        options.onnx === undefined
          ? await evaluateRun(folder, part, {
              ...shared,
              predictionsFile: options.predictions,
              decoding: decodingOf(options),
            })
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

function decodingOf({ lm, lexicon, beam, lmWeight, wordScore }: Options): LmOptions {
  if (lm === undefined && lexicon !== undefined)
    throw new InvalidArgumentError("--lexicon needs --lm: a model over its words");
  return { lm, lexicon, beam, lmWeight, wordScore };
}

function finite(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("It must be a number.");
  return value;
}

/** Packs of SUPERB's tasks bring their own corpora, so that nothing is routed. */
async function printTaskPacks(options: Options): Promise<void> {
  const run = options.pack.find((path) => !isTaskPack(path));
  if (run !== undefined)
    throw new UserError(`${run}: is of a run and others are of SUPERB's tasks; evaluate the two kinds apart`);
  for (const [name, given] of [
    ["--route", options.route],
    ["--manifest", options.manifest],
    ["--lm", options.lm],
  ])
    if (given !== undefined) throw new UserError(`${name}: does not go with packs of SUPERB's tasks`);
  if (options.data === undefined)
    throw new UserError("--data: must name the folder that holds the corpora of SUPERB's tasks");
  const { pack, backbone, threads, data: root, predictions: file } = options;
  const part = partOf(options.split);
  const { predictions, ...rest } = await evaluateTaskPacks(pack, part, { root, backbone, threads });
  if (file !== undefined) writeLines(file, predictions);
  printResult(options, rest, taskLines(rest.tasks).join("\n"));
}

const taskLines = (tasks: PackEvaluation["tasks"]): string[] =>
  tasks.flatMap(({ name, metrics, utterances }) => [
    `${name}: ${utterances} utterances`,
    ...Object.entries(metrics).map(([metric, value]) => `  ${metric}  ${value.toFixed(4)}`),
  ]);

const writeLines = (file: string, lines: readonly object[]): void =>
  writeAtomically(file, (put) => put(Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(""))));

async function printPacks(options: Options): Promise<void> {
  if (options.pack.some(isTaskPack)) return printTaskPacks(options);
  const result = await evaluatePacks(options.pack, partOf(options.split), {
    ...options,
    decoding: decodingOf(options),
    skipBad: options.skipBad ?? false,
    log: (line) => process.stderr.write(`${line}\n`),
  });
  const { predictions, ...rest } = result;
  if (options.predictions !== undefined) writeLines(options.predictions, predictions);
  printResult(
    options,
    rest,
    [...taskLines(result.tasks), `${predictions.length} utterances in all`].join("\n"),
  );
}
