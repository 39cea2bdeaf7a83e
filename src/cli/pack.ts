import { join } from "node:path";
import type { Command } from "commander";
import { calibrateRun } from "../methods/severity/assess/calibration.ts";
import { isTaskFolder, packTask } from "../superb/packed.ts";
import { packRun } from "../train/pack.ts";
import { PACK_ENDING } from "../train/pack-file.ts";
import { newCommand, printResult } from "./command.ts";

interface Options {
  json?: boolean;
  out?: string;
  backbone?: string;
}

export function command(): Command {
  return newCommand(
    "pack",
    "Packs the masks and heads of a finished run with a `plan.mask`, or of a task of `superb --train masks`, into one small file, bound to its backbone by a hash.",
    ["pack runs/dutch --out dutch.pack", "pack runs/superb-base/masks-0.1/ks --out ks.pack"],
  )
    .argument("<run>", "the folder of a finished run, or of a task that `superb --train masks` learned")
    .option("--out <file>", `the pack (default: NAME${PACK_ENDING} beside the run's folder)`)
    .option("--backbone <model>", "the model that the masks are over (default: the recipe's upstream)")
    .action((folder: string, options: Options) => {
      const out = options.out ?? `${join(folder)}${PACK_ENDING}`;
      // Fitted on predictions that the pack leaves behind.
      calibrateRun(folder);
      const pack = isTaskFolder(folder) ? packTask : packRun;
      const report = pack(folder, out, options.backbone);
      const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(3)} MB`;
      printResult(
        options,
        report,
        [
          `${out}: ${megabytes(report.bytes)}, of which masks ${megabytes(report.maskBytes)} (as plain bits ${megabytes(report.rawBytes)})`,
          `${report.weights} masked weights, sparsity ${report.sparsity.toFixed(4)}, ${report.bitsPerWeight.toFixed(4)} bits a weight`,
          `overlap with the magnitude mask ${report.overlap.toFixed(4)} (share of zeros in common)`,
          `backbone ${report.backbone}`,
        ].join("\n"),
      );
    });
}
