import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { ALPHAS, type AlphaSweep, alphaSweep } from "../methods/speech-ft/alpha-sweep.ts";
import { analysisPage, shown } from "../methods/speech-ft/page.ts";
import { markdownTable } from "../report/markdown.ts";
import { tasksNamed } from "../superb/index.ts";
import { locateModels } from "../train/locate.ts";
import { writeAtomically } from "../weights/file.ts";
import { interruptSignal, newCommand, printResult, whole } from "./command.ts";
import { type MergeOptions, number, numbers, withMergeOptions } from "./merge-options.ts";

interface Options extends MergeOptions {
  json?: boolean;
  alphas?: number[];
  tasks: string;
  corpusRoot: string;
  out: string;
  seeds: number;
  steps?: number;
  threads?: number;
  cacheGb: number;
  allowOverlap?: boolean;
}

/** `voxsmith merge sweep`: Speech-FT's Table 9 for any model and any probes. */
export function sweepCommand(): Command {
  const sweep = newCommand(
    "sweep",
    "Merges at several alphas, probes each merged model, and writes a table and a page with the curve. The same command goes on with what was interrupted.",
    [
      "merge sweep models/base runs/phones --tasks miniature --out runs/phones-sweep",
      "merge sweep models/base runs/phones runs/speakers --method ties --alphas 0,0.25,1 --tasks mini --corpus-root /data --out runs/ties-sweep",
    ],
  )
    .argument("<base>", "the model that the others were tuned from")
    .argument("<tuned...>", "models that were tuned from it")
    .requiredOption("--out <folder>", "where tables, page and the probes' results go")
    .option("--alphas <list>", `numbers with commas (default: ${ALPHAS.join(",")})`, numbers)
    .option("--tasks <names>", "probes, as for `voxsmith superb`", "mini")
    .option("--corpus-root <folder>", "the folder that holds the probes' corpora", "../shared/data")
    .option("--seeds <n>", "seeds of the probes' heads", whole, 1)
    .option("--steps <n>", "updates of each head, or a factor below 1 of the recipes' own", positive)
    .option("--threads <n>", "processor threads (default: all)", whole)
    .option("--cache-gb <gigabytes>", "what hidden states of one model may take at a time", number, 20)
    .option("--allow-overlap", "probe even on test utterances that a model or an ancestor trained on");
  return withMergeOptions(sweep).action(async (baseName: string, tunedNames: string[], options: Options) => {
    const log = (line: string) => void process.stderr.write(`${line}\n`);
    const [base, ...tuned] = await locateModels([baseName, ...tunedNames], log);
    const { json, alphas, tasks: names, corpusRoot, out, seeds, steps, threads, cacheGb, ...rest } = options;
    const { allowOverlap, ...given } = rest;
    const tasks = [];
    for (const entry of tasksNamed(names)) tasks.push(...(await entry.prepare(resolve(corpusRoot))));
    const { signal, dispose } = interruptSignal("saving; the same command goes on from here");
    const result = await alphaSweep(base, tuned, given, alphas ?? ALPHAS, tasks, {
      ...{ folder: out, steps, threads, cacheGb, allowOverlap, signal },
      seeds: Array.from({ length: seeds }, (_, i) => i),
      log,
    }).finally(dispose);
    mkdirSync(out, { recursive: true });
    write(join(out, "sweep.json"), `${JSON.stringify(result, null, 2)}\n`);
    write(join(out, "table.md"), `${markdown(result)}\n`);
    write(join(out, "report.html"), await pageOf(result, out));
    printResult({ json }, result, `${markdown(result)}\n\n${join(out, "report.html")} shows the curve.`);
  });
}

function markdown({ points }: AlphaSweep): string {
  const tasks = Object.entries(points[0].summary.tasks);
  const superb = points[0].summary.superb !== undefined;
  const header = [
    "alpha",
    ...tasks.map(([name, { metric }]) => `${name} ${metric}`),
    "mean right (%)",
    ...(superb ? ["SUPERB score"] : []),
  ];
  const rows = points.map(({ alpha, summary }) => [
    String(alpha),
    ...tasks.map(([name]) => shown(summary.tasks[name], 1, 4)),
    shown(summary.mean),
    ...(superb ? [String(summary.superb?.toFixed(2))] : []),
  ]);
  return markdownTable(header, rows);
}

const pageOf = ({ base, tuned, method, points, distances }: AlphaSweep, out: string): Promise<string> =>
  analysisPage({
    title: `${method} of ${tuned.join(", ")} and ${base}`,
    facts: [
      ["base", base],
      ["tuned", tuned.join(", ")],
      ["method", method],
    ],
    models: points.map(({ alpha, summary }) => ({ name: `alpha ${alpha}`, summary })),
    curves: [{ name: method, points }],
    distances,
    stages: [],
    command: `voxsmith merge sweep ${[base, ...tuned].join(" ")} --method ${method} --out ${out}`,
  });

function positive(text: string): number {
  const value = number(text);
  if (value <= 0) throw new InvalidArgumentError("It must be above 0.");
  return value;
}

function write(path: string, text: string): void {
  writeAtomically(path, (put) => put(Buffer.from(text)));
}
