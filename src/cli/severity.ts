import type { Command } from "commander";
import { newCommand } from "./command.ts";
import { analyseCommand } from "./severity-analyse.ts";
import { cellsCommand } from "./severity-cells.ts";
import { baselinesCommand, cvCommand, gridCommand } from "./severity-study.ts";

/** `voxsmith severity`: studies of graded speech. */
export function command(): Command {
  const root = newCommand(
    "severity",
    "Studies of graded speech: cross-validation over speakers, the grid of the severity paper, and what models have learned.",
    [
      "severity cv recipes/qolt/severity.yaml --data qolt --plan",
      "severity grid recipes/qolt/severity.yaml --data qolt --jobs 2",
      "severity analyse runs/multi runs/single --data qolt --out analysis.html",
    ],
  )
    .helpCommand(false)
    // Options after the name are that command's, --json too.
    .enablePositionalOptions();
  for (const each of [cvCommand(), gridCommand(), baselinesCommand(), analyseCommand()])
    root.addCommand(each);
  root.addCommand(cellsCommand(), { hidden: true });
  return root;
}
