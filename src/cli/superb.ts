import { join, resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { superbEndPoints } from "../metrics/superb-score.ts";
import { taskEntries, taskGroups, tasksNamed } from "../superb/catalogue.ts";
import type { ProbeReport } from "../superb/probe.ts";
import type { ProbeResult } from "../superb/results.ts";
import { interruptSignal, newCommand, printResult, whole } from "./command.ts";

interface Options {
  json?: boolean;
  tasks: string;
  corpusRoot: string;
  out?: string;
  cache: string;
  cacheGb: number;
  seed: number;
  steps?: number;
  threads?: number;
  allowOverlap?: boolean;
}

export function command(): Command {
  const tasks = taskEntries.map(({ name, summary }) => `  ${name}: ${summary}`);
  const groups = Object.entries(taskGroups).map(([name, members]) => `  ${name}: ${members.join(",")}`);
  return newCommand(
    "superb",
    "Probes a frozen model on the tasks of SUPERB: hidden states are computed once and cached, every head is trained from them. The same command goes on with what was interrupted.",
    [
      "superb runs/fsdd-digits --tasks miniature",
      "superb hubert-base --tasks mini --corpus-root /data/corpora",
      "superb log-mel --tasks mini-keywords --json",
    ],
  )
    .argument("<model>", "model folder or checkpoint, or log-mel")
    .option("--tasks <names>", "tasks or groups of tasks, with commas", "mini")
    .option("--corpus-root <folder>", "the folder that holds the corpora", "../shared/data")
    .option("--out <folder>", "where results go (default: runs/superb-MODEL)")
    .option("--cache <folder>", "where hidden states are kept", join("runs", "superb-cache"))
    .option(
      "--cache-gb <gigabytes>",
      "what the cache may take; what does not fit is computed again",
      gigabytes,
      20,
    )
    .option("--seed <n>", "seed of the heads", seed, 0)
    .option("--steps <n>", "updates of each head, or a factor below 1 of the recipes' own", steps)
    .option("--threads <n>", "processor threads (default: all)", whole)
    .option("--allow-overlap", "probe even on test utterances that the model or an ancestor trained on")
    .addHelpText("after", `\nTasks:\n${tasks.join("\n")}\n\nGroups:\n${groups.join("\n")}`)
    .action(async (model: string, options: Options) => {
      const { probe } = await import("../superb/probe.ts");
      const root = resolve(options.corpusRoot);
      const prepared = [];
      for (const entry of tasksNamed(options.tasks)) prepared.push(...(await entry.prepare(root)));
      const { signal, dispose } = interruptSignal("saving; the same command goes on from here");
      const report = await probe(model, prepared, {
        ...{ cache: options.cache, cacheGb: options.cacheGb, seed: options.seed, steps: options.steps },
        ...{ threads: options.threads, allowOverlap: options.allowOverlap, signal },
        out: options.out ?? join("runs", `superb-${nameOf(model)}`),
        log: (line) => process.stderr.write(`${line}\n`),
      }).finally(dispose);
      printResult(options, report, table(report));
      if (signal.aborted) process.exitCode = 130;
    });
}

const nameOf = (model: string): string =>
  model
    .replace(/[/\\]+$/, "")
    .split(/[/\\]/)
    .at(-1) ?? model;

function table({ results, score, left }: ProbeReport): string {
  const width = Math.max(4, ...results.map(({ task }) => task.length));
  const lines = results.map(
    (result) => `${result.task.padEnd(width)}  ${metricsOf(result)}${overlapOf(result)}`,
  );
  const layers = results.map(
    ({ task, layerWeights }) =>
      `${task.padEnd(width)}  layers ${layerWeights.map((share) => share.toFixed(2)).join(" ")}`,
  );
  const notes = results.flatMap(({ task, notes: said }) => said.map((note) => `${task}: ${note}`));
  const whole = score && `SUPERB score over ${Object.keys(score.tasks).join(" ")}: ${score.score.toFixed(2)}`;
  const missing = left.length > 0 ? `not finished: ${left.join(", ")}` : undefined;
  return [...lines, "", ...layers, ...(notes.length > 0 ? ["", ...notes] : []), whole, missing]
    .filter((line) => line !== undefined)
    .join("\n");
}

/** Columns as the score's table has them, other metrics by their own names. */
function metricsOf({ columns, metrics }: ProbeResult): string {
  const scored = Object.entries(columns).map(([name, value]) => {
    const { metric, unit } = superbEndPoints[name as keyof typeof columns];
    return `${name} ${value.toFixed(unit === "%" ? 2 : 4)}${unit && ` ${unit}`} (${metric})`;
  });
  if (scored.length > 0) return scored.join(", ");
  return Object.entries(metrics)
    .map(([name, value]) => `${name} ${value.toFixed(4)}`)
    .join(", ");
}

const overlapOf = ({ overlap }: ProbeResult): string =>
  overlap ? `  ! the model trained on ${overlap} of the test utterances` : "";

function gigabytes(text: string): number {
  const value = Number(text);
  if (!(value >= 0) || text.trim() === "")
    throw new InvalidArgumentError("It must be a number of gigabytes.");
  return value;
}

function seed(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError("It must be a whole number.");
  return value;
}

function steps(text: string): number {
  const value = Number(text);
  if (!(value > 0) || (value >= 1 && !Number.isInteger(value)))
    throw new InvalidArgumentError("It must be a number of updates, or a factor below 1.");
  return value;
}
