import { existsSync, statSync } from "node:fs";
import { Command } from "commander";
import { writeNgrams } from "../decode/ngram-file.ts";
import { UserError } from "../errors.ts";
import { readArpaFile } from "../train/language-model.ts";
import { progress } from "../train/progress.ts";
import { writeAtomically } from "../weights/file.ts";
import { newCommand, printResult } from "./command.ts";
import { trainCommand } from "./lm-train.ts";

/** `voxsmith lm compile` and `voxsmith lm train`. */
export function command(): Command {
  return new Command("lm")
    .description("Language models for decoding.")
    .addCommand(compile())
    .addCommand(trainCommand())
    .addHelpText(
      "after",
      "\nExamples:\n  $ voxsmith lm compile 4-gram.arpa.gz 4-gram.ngram\n  $ voxsmith lm train text.txt --units runs/crdnn --out runs/crdnn-lm\n\nEvery command takes --json.",
    );
}

function compile(): Command {
  return newCommand(
    "compile",
    "Compiles an ARPA file, plain or gzipped, into one that opens without being parsed.",
    ["lm compile 4-gram.arpa.gz 4-gram.ngram"],
  )
    .argument("<arpa>", "the ARPA file")
    .argument("<out>", "the compiled file")
    .action(async (path: string, out: string, options: { json?: boolean }) => {
      if (!existsSync(path)) throw new UserError(`${path}: does not exist`);
      const total = statSync(path).size;
      const shown = progress({ label: "reading n-grams", total });
      const model = await readArpaFile(path, (bytes) => shown.update(Math.min(total, bytes)));
      shown.end();
      writeAtomically(out, (put) => writeNgrams(model, put));
      const counts = model.levels.map(({ word }) => word.length);
      const bytes = statSync(out).size;
      printResult(
        options,
        { file: out, order: model.order, ngrams: counts, bytes },
        `${out}: ${model.order}-gram model, ${counts.join(" + ")} n-grams, ${(bytes / 1e6).toFixed(1)} MB`,
      );
    });
}
