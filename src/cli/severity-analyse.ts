import { type Command, InvalidArgumentError } from "commander";
import { analyseRun, type RunAnalysis } from "../methods/severity/analysis/states.ts";
import { analysisPage } from "../report/severity-analysis.ts";
import { writeAtomically } from "../weights/file.ts";
import { newCommand, printResult, whole } from "./command.ts";

interface Options {
  json?: boolean;
  data?: string;
  best?: boolean;
  layers?: number[];
  out: string;
  threads?: number;
}

/** `voxsmith severity analyse`: maps, losses and probes of runs, side by side. */
export function analyseCommand(): Command {
  return newCommand(
    "analyse",
    "Shows what severity models learned: UMAP and principal components of averaged representations by layer, coloured by grade and sentence; validation losses with and without the auxiliary task; linear probes layer by layer. Several runs are shown side by side.",
    [
      "severity analyse runs/severity-qolt/cells/alpha0_e0_fold0_seed1 runs/severity-qolt/cells/alpha0.1_e30_fold0_seed1 --data runs/severity-qolt/folds/0/development",
    ],
  )
    .summary("maps of representations, loss curves and probes of runs, as a page")
    .argument("<run...>", "folders of finished runs, such as a single-task and a multi-task one")
    .option("--data <folder>", "the folder of the runs' manifest")
    .option("--best", "the best model of each run instead of the last one, which the paper shows")
    .option("--layers <list>", "only these hidden states, such as 0,6,12 (default: all)", layers)
    .option("--out <file>", "the page", "severity-analysis.html")
    .option("--threads <n>", "processor threads (default: the run's)", whole)
    .action(async (runs: string[], options: Options) => {
      const { data, threads, out } = options;
      const analyses: RunAnalysis[] = [];
      for (const run of runs)
        analyses.push(
          await analyseRun(run, {
            data,
            threads,
            layers: options.layers,
            model: options.best ? "best" : "last",
          }),
        );
      const document = await analysisPage(analyses);
      writeAtomically(out, (put) => put(Buffer.from(document)));
      const found = analyses.map(({ name, model, layers: each, losses, joins }) => ({
        ...{ run: name, model, joins, losses },
        layers: each.map(({ layer, probe, silhouette }) => ({ layer, probe, silhouette })),
      }));
      const lines = found.flatMap(({ run, layers: each }) => [
        run,
        ...each.map(
          ({ layer, probe, silhouette }) =>
            `  layer ${layer}: probe ${probe.grade.toFixed(3)}, silhouette of grades ${silhouette.grade.toFixed(3)}, of sentences ${silhouette.sentence.toFixed(3)}`,
        ),
      ]);
      printResult(options, { page: out, runs: found }, [...lines, `Page: ${out}`].join("\n"));
    });
}

function layers(text: string): number[] {
  const values = text.split(",").map(Number);
  if (text === "" || values.some((value) => !Number.isInteger(value) || value < 0))
    throw new InvalidArgumentError("It must be whole numbers with commas between, such as 0,6,12.");
  return values;
}
