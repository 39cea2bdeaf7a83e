import { type Command, InvalidArgumentError } from "commander";
import { reportModel } from "../train/inspect.ts";
import { locateModel } from "../train/locate.ts";
import { collect, newCommand, printResult, whole } from "./command.ts";

interface Options {
  json?: boolean;
  batch: number;
  seconds: number;
  freeze: string[];
}

export function command(): Command {
  return newCommand(
    "inspect",
    "Says what a model is (layers, parameters, dtype, frame rate, heads), what training freezes, and how much memory a training step takes under each plan.",
    [
      "inspect test/fixtures/weights/checkpoints/hubert-omegaconf.pt",
      "inspect facebook/wav2vec2-base --batch 8 --seconds 10",
    ],
  )
    .argument("<model>", "a folder, a file, or a name of the hub")
    .option("--batch <n>", "utterances of a batch", whole, 4)
    .option("--seconds <n>", "length of each utterance", length, 5)
    .option(
      "--freeze <pattern>",
      "ask for a plan of your own: what `plan.freeze` names; may be repeated",
      collect,
      [],
    )
    .action(async (name: string, options: Options) => {
      const { path } = await locateModel(name, (line) => process.stderr.write(`${line}\n`));
      const report = reportModel(path, options);
      printResult(options, report, [`${name}: ${report.source}`, ...text(report, options)].join("\n"));
    });
}

function length(value: string): number {
  const seconds = Number(value);
  if (!(seconds > 0 && seconds <= 3600))
    throw new InvalidArgumentError("It must be a number of seconds, up to 3600.");
  return seconds;
}

type Report = ReturnType<typeof reportModel>;

const millions = (n: number): string =>
  n >= 1e5 ? `${(n / 1e6).toFixed(1)} M` : n >= 1000 ? `${(n / 1000).toFixed(1)} k` : `${n}`;
const gigabytes = (bytes: number): string =>
  bytes >= 1e8 ? `${(bytes / 1e9).toFixed(2)} GB` : `${(bytes / 1e6).toFixed(1)} MB`;

function text(report: Report, { batch, seconds }: Options): string[] {
  const { parameters, frames, audio, heads, frozen, plans } = report;
  const row = (name: string, value: string) => `${name.padEnd(12)}${value}`;
  const list = (parts: { name: string; parameters: number }[]) =>
    parts.map((part) => `${part.name} ${millions(part.parameters)}`).join(", ");
  const width = Math.max(...plans.map(({ name }) => name.length));
  return [
    row("family", `${report.family}${report.architecture ? ` (${report.architecture})` : ""}`),
    row("layers", `${report.layers}, hidden size ${report.hiddenSize}, ${report.hiddenStates} hidden states`),
    row(
      "parameters",
      `${millions(parameters.total)} in ${parameters.tensors} tensors: ${list(parameters.parts)}`,
    ),
    row(
      "dtype",
      `${report.dtypes.join(", ") || "none"}; computed in float32 (${gigabytes(4 * parameters.total)})`,
    ),
    row(
      "audio",
      `${audio.sampleRate} Hz${audio.normalize === undefined ? "" : audio.normalize ? ", zero mean and unit variance" : ", as it is"}`,
    ),
    row(
      "frames",
      `${frames.perSecond} a second (one every ${frames.hop} samples); ${frames.ofSeconds} of ${seconds} s`,
    ),
    row("heads", heads.length === 0 ? "none" : list(heads)),
    row("pre-train", report.pretraining),
    row(
      "frozen",
      frozen.length === 0
        ? "nothing (the plan's default is feature_extractor)"
        : `${list(frozen)} (the plan's default)`,
    ),
    ...report.notes.map((note) => `taken as usual: ${note}`),
    "",
    `Peak memory of a training step, ${batch} x ${seconds} s, Adam, a CTC head:`,
    `${"plan".padEnd(width)}  ${"trains".padStart(9)}  ${"recompute: none".padStart(15)}  ${"recompute: all".padStart(14)}`,
    ...plans.map(
      (plan) =>
        `${plan.name.padEnd(width)}  ${millions(plan.trains).padStart(9)}  ${gigabytes(plan.bytes.none).padStart(15)}  ${gigabytes(plan.bytes.all).padStart(14)}`,
    ),
  ];
}
