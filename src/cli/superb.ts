import { join, resolve } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { UserError } from "../errors.ts";
import type { AdaptReport } from "../methods/router/superb-tasks.ts";
import { superbEndPoints } from "../metrics/superb-score.ts";
import { taskEntries, taskGroups, tasksNamed } from "../superb/catalogue.ts";
import type { ProbeReport } from "../superb/probe.ts";
import type { ProbeResult } from "../superb/results.ts";
import { locateModel } from "../train/locate.ts";
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
  train?: "weights" | "masks";
  sparsity?: number[];
  modules?: "ffn" | "attention" | "both";
  upstreamLr?: number;
}

export function command(): Command {
  const tasks = taskEntries.map(({ name, summary }) => `  ${name}: ${summary}`);
  const groups = Object.entries(taskGroups).map(([name, members]) => `  ${name}: ${members.join(",")}`);
  return newCommand(
    "superb",
    "Probes a frozen model on the tasks of SUPERB: hidden states are computed once and cached, every head is trained from them. With --train the model itself trains with each head: its weights, or masks over them. The same command goes on with what was interrupted.",
    [
      "superb runs/fsdd-digits --tasks miniature",
      "superb hubert-base --tasks mini --corpus-root /data/corpora",
      "superb log-mel --tasks mini-keywords --json",
      "superb runs/fsdd-digits --tasks mini-digits --train masks --sparsity 0.05,0.1,0.2",
    ],
  )
    .argument("<model>", "a run, a model's folder, a checkpoint, a mask pack, a name of the hub, or log-mel")
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
    .addOption(
      new Option("--train <what>", "train the model too: its weights, or masks over frozen ones").choices([
        "weights",
        "masks",
      ]),
    )
    .option(
      "--sparsity <list>",
      "of masks: one or several, of which validation chooses (default: 0.1)",
      sparsities,
    )
    .addOption(
      new Option("--modules <which>", "what is masked (default: ffn)").choices(["ffn", "attention", "both"]),
    )
    .option(
      "--upstream-lr <rate>",
      "learning rate of weights or masks, on the recipe's schedule (default: 5e-5)",
      rate,
    )
    .addHelpText("after", `\nTasks:\n${tasks.join("\n")}\n\nGroups:\n${groups.join("\n")}`)
    .action(async (model: string, options: Options) => {
      const { probe } = await import("../superb/probe.ts");
      refuseIdle(options);
      const log = (line: string) => void process.stderr.write(`${line}\n`);
      const { path } = await locateModel(model, log);
      const root = resolve(options.corpusRoot);
      const prepared = [];
      for (const entry of tasksNamed(options.tasks)) prepared.push(...(await entry.prepare(root)));
      const { signal, dispose } = interruptSignal("saving; the same command goes on from here");
      const { seed, steps, threads, allowOverlap, cache, cacheGb, train, modules } = options;
      const out = options.out ?? join("runs", `superb-${nameOf(model)}`);
      const shared = { name: nameOf(model), seed, steps, threads, allowOverlap, signal, out, log };
      if (train === undefined) {
        const report = await probe(path, prepared, { ...shared, cache, cacheGb }).finally(dispose);
        printResult(options, report, table(report));
      } else {
        const { adaptToTasks } = await import("../methods/router/superb-tasks.ts");
        const adaptation = { train, modules: modules ?? "ffn", lr: options.upstreamLr ?? 5e-5 };
        const adapting = { ...shared, adaptation, sparsities: options.sparsity ?? [0.1] };
        const report = await adaptToTasks(path, prepared, adapting).finally(dispose);
        printResult(options, report, curves(report, out));
      }
      if (signal.aborted) process.exitCode = 130;
    });
}

/** Refuses options of a model that trains where none does. */
function refuseIdle({ train, sparsity, modules, upstreamLr }: Options): void {
  const ofMasks = sparsity !== undefined ? "--sparsity" : modules !== undefined ? "--modules" : undefined;
  if (train !== "masks" && ofMasks !== undefined) throw new UserError(`${ofMasks}: goes with --train masks`);
  if (train === undefined && upstreamLr !== undefined)
    throw new UserError("--upstream-lr: goes with --train weights or --train masks");
}

/** A line for each task and sparsity; the chosen one is marked. */
function curves({ tasks, left, train }: AdaptReport, out: string): string {
  const lines = tasks.flatMap(({ task, curve, chosen }) =>
    curve.map((point) => {
      const { sparsity, valid, metrics } = point;
      const shown = Object.entries(metrics).map(([name, value]) => `${name} ${value.toFixed(4)}`);
      const how = train === "masks" ? `sparsity ${sparsity}` : "weights";
      const judged = valid === undefined ? "" : ` (validation ${valid.toFixed(4)})`;
      return `${task}  ${how}  ${shown.join(", ")}${judged}${curve.length > 1 && point === chosen ? "  chosen" : ""}`;
    }),
  );
  const undecided = tasks
    .filter(({ chosen }) => chosen === undefined)
    .map(({ task }) => `${task}: has no validation metric to choose a sparsity by`);
  return [
    ...lines,
    ...undecided,
    ...(left.length > 0 ? [`not finished: ${left.join(", ")}`] : []),
    ...(tasks.length > 0 ? [`${join(out, "report.html")} shows the curves.`] : []),
  ].join("\n");
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

function sparsities(text: string): number[] {
  const list = text.split(",").map(Number);
  if (!list.every((value) => value >= 0 && value < 1))
    throw new InvalidArgumentError("It must be shares from 0 to below 1, such as 0.05,0.1,0.2.");
  return list;
}

function rate(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value < 1)) throw new InvalidArgumentError("It must be a learning rate above 0.");
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
