import { existsSync } from "node:fs";
import { type Command, InvalidArgumentError } from "commander";
import { stem } from "../corpus/readers/reader.ts";
import { UserError } from "../errors.ts";
import { extractTo } from "../use/extract.ts";
import { Inference, type Layers } from "../use/inference.ts";
import { newCommand, printResult, whole } from "./command.ts";
import { secondsHeard } from "./seconds-heard.ts";

interface Options {
  json?: boolean;
  model: string;
  layers: Layers;
  out: string;
  chunk: number;
  overlap: number;
  threads?: number;
}

export function command(): Command {
  return newCommand(
    "extract",
    "Writes the hidden states of a model: float32 [layers, frames, dim], or [frames, dim] of a single one. Several recordings go into one .safetensors file, a tensor for each by the name of its file.",
    [
      "extract speech.wav --model log-mel --layers mean --out speech.npy",
      "extract speech/*.wav --model runs/fsdd-digits --layers all --out speech.safetensors",
    ],
  )
    .argument("<file...>", "recordings")
    .requiredOption("--model <model>", "a run, a model's folder, a checkpoint, a name of the hub, or log-mel")
    .option(
      "--layers <which>",
      "all, mean of all, one by its number (0 is the transformer's input), or last as heads read it",
      layers,
      "last" as const,
    )
    .requiredOption("--out <file>", "a .npy or .safetensors file")
    .option("--chunk <seconds>", "longest stretch that the model hears at once", positive, 30)
    .option("--overlap <seconds>", "what two stretches share", positive, 6)
    .option("--threads <n>", "processor threads (default: the run's, or all)", whole)
    .action(run);
}

async function run(files: string[], options: Options): Promise<void> {
  const { out, model, threads } = options;
  if (!/\.(npy|safetensors)$/.test(out))
    throw new UserError(`--out ${out}: must end in .npy or .safetensors`);
  if (out.endsWith(".npy") && files.length > 1)
    throw new UserError(`--out ${out}: holds one recording; for several, name a .safetensors file`);
  for (const file of files) if (!existsSync(file)) throw new UserError(`${file}: there is no such file`);
  const names = files.map(stem);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new UserError(`there are two recordings named "${twice}"; extract them one by one`);
  const log = (line: string) => process.stderr.write(`${line}\n`);
  const inference = await Inference.open(model, { threads, heads: [], layers: options.layers, log });
  try {
    for (const note of inference.model.notes) process.stderr.write(`${model}: ${note}\n`);
    const recordings = await extractTo(out, files, inference, {
      chunkSeconds: options.chunk,
      overlapSeconds: options.overlap,
      onProgress: secondsHeard,
    });
    const shown = recordings.map(({ file, shape }) => `${file}  [${shape.join(", ")}]`);
    printResult(options, { model, layers: options.layers, out, recordings }, [...shown, out].join("\n"));
  } finally {
    await inference.dispose();
  }
}

function layers(text: string): Layers {
  if (text === "all" || text === "mean" || text === "last") return text;
  const value = Number(text);
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError("It must be all, mean, last or a number.");
  return value;
}

function positive(text: string): number {
  if (!(Number(text) > 0)) throw new InvalidArgumentError("It must be a number of seconds above 0.");
  return Number(text);
}
