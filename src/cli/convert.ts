import { existsSync } from "node:fs";
import { type Command, Option } from "commander";
import { UserError } from "../errors.ts";
import { locateModel } from "../train/locate.ts";
import { openCheckpoint } from "../weights/checkpoint.ts";
import { writeHuggingFaceFolder, writeSafetensorsCopy } from "../weights/convert.ts";
import { formatPlan } from "../weights/names.ts";
import { newCommand, printResult } from "./command.ts";

interface Options {
  json?: boolean;
  to: "hf" | "safetensors";
  dictionary?: string;
  dryRun?: boolean;
}

export function command(): Command {
  return newCommand(
    "convert",
    "Rewrites a model (fairseq, s3prl, WavLM or DeCoAR 2.0 checkpoint, Hugging Face folder, run, or hub name) as a folder that transformers loads without a warning, or as one safetensors file. Prints what becomes of each tensor, and why.",
    ["convert test/fixtures/weights/checkpoints/hubert-omegaconf.pt hubert --to hf"],
  )
    .argument("<in>", "the model: a folder, a file, or a name of the hub")
    .argument("<out>", "the folder (hf) or file (safetensors) to write; it must not exist")
    .addOption(
      new Option("--to <form>", "what to write").choices(["hf", "safetensors"]).makeOptionMandatory(),
    )
    .option(
      "--dictionary <file>",
      "the dict.*.txt of a fine-tuned fairseq model, if not inside or beside its file",
    )
    .option("--dry-run", "print the plan and write nothing")
    .action(async (input: string, out: string, options: Options) => {
      if (existsSync(out)) throw new UserError(`${out}: exists already; name one that does not`);
      const { path } = await locateModel(input, (line) => process.stderr.write(`${line}\n`));
      const checkpoint = openCheckpoint(path, { dictionary: options.dictionary });
      try {
        const { source, family, plan, notes } = checkpoint;
        let files: string[] = [];
        if (!options.dryRun) {
          if (options.to === "hf") files = writeHuggingFaceFolder(checkpoint, out);
          else writeSafetensorsCopy(checkpoint, out);
        }
        const count = (action: string) => plan.lines.filter((line) => line.action === action).length;
        const summary = `${source}, ${family}: ${count("kept")} tensors kept, ${count("renamed")} renamed, ${count("dropped")} dropped`;
        const lines = [
          summary,
          ...formatPlan(plan),
          ...notes.map((note) => `taken as usual: ${note}`),
          options.dryRun
            ? "nothing written"
            : `written: ${[out, ...files.map((file) => `  ${file}`)].join("\n")}`,
        ];
        const result = {
          in: path,
          out,
          source,
          family,
          files,
          plan: plan.lines,
          notes,
          written: !options.dryRun,
        };
        printResult(options, result, lines.join("\n"));
      } finally {
        checkpoint.weights.close();
      }
    });
}
