import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { readManifest } from "../corpus/manifest.ts";
import { RunError, UserError } from "../errors.ts";
import { type CandidateName, candidatesOf, isSpectral } from "../methods/pretext/candidates.ts";
import { collectUnits } from "../methods/pretext/collect.ts";
import { type EstimateOptions, Estimator, referenceOptions } from "../methods/pretext/estimate.ts";
import type { Centring, Normaliser } from "../methods/pretext/hsic.ts";
import * as selection from "../methods/pretext/select.ts";
import { type UnitSource, unitsOf } from "../methods/pretext/units.ts";
import { selectionReport } from "../report/selection.ts";
import { progress } from "../train/progress.ts";
import { ownVersion } from "../train/versions.ts";
import { reason, writeAtomically } from "../weights/file.ts";
import { interruptSignal, newCommand, printResult, whole } from "./command.ts";

interface Options {
  json?: boolean;
  task: string;
  features: string[];
  method: selection.Method;
  out?: string;
  reference?: boolean;
  centring?: Centring;
  aggregate?: "weighted" | "mean";
  zScore: boolean;
  bandwidth?: "median" | number;
  normalise?: Normaliser;
  optimizer?: "adam" | "sgd";
  lr?: number;
  steps?: number;
  restarts: number;
  penalty?: number;
  keep: number;
  fix?: string;
  classes?: number;
  perClass?: number;
  leastWords?: number;
  frames?: number;
  mels: number;
  memory: number;
  convergence?: boolean;
  ternary?: string[];
  errors?: string;
  seed: number;
  threads?: number;
  skipBad?: boolean;
}

const positive = (text: string): number => {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError("It must be a number above 0.");
  return value;
};
const nonNegative = (text: string): number => {
  const value = Number(text);
  if (!(value >= 0)) throw new InvalidArgumentError("It must be a number of at least 0.");
  return value;
};
const bandwidth = (text: string) => (text === "median" ? ("median" as const) : positive(text));
const list = (text: string) => text.split(",").map((word) => word.trim());

export function command(): Command {
  return newCommand(
    "select",
    "Computes which signal features a model should be pre-trained to predict for a task, and with what weights, from a little labelled speech: an estimate of conditional independence for each candidate, and groups of them by several methods. Writes weights.json and report.html.",
    [
      "select ../shared/data/fsdd --task digit --per-class 40",
      "select ../shared/data/speechocean762 --task speaker --classes 50 --features speech,plus --convergence",
    ],
  )
    .argument("<corpus>", "a manifest, or a folder with manifest.jsonl")
    .requiredOption(
      "--task <name>",
      "what the classes are: phones or words (with times), speaker, or a label's name",
    )
    .option(
      "--features <names>",
      "candidates, separated by commas: openSMILE's names, or the groups speech (the paper's seven), plus (its three more), spectral, all",
      list,
      ["speech"],
    )
    .addOption(
      new Option("--method <name>", "whose weights go into weights.json; the report shows all methods")
        .choices(selection.methods)
        .default("sparsemax"),
    )
    .option("--out <folder>", "where the result goes (default: runs/select-TASK)")
    .option("--reference", "everything as the paper's released code does it, for comparison with it")
    .addOption(
      new Option(
        "--centring <name>",
        "of kernels: as in the paper (default) or in its released code",
      ).choices(["paper", "reference"]),
    )
    .addOption(
      new Option("--aggregate <name>", "mean over classes: weighted by size (default) or plain").choices([
        "weighted",
        "mean",
      ]),
    )
    .option("--no-z-score", "take labels as they are instead of bringing each to mean 0 and variance 1")
    .option(
      "--bandwidth <value>",
      "sigma^2 of the kernel over labels, or median: each candidate's own (default)",
      bandwidth,
    )
    .addOption(
      new Option(
        "--normalise <name>",
        "divide each class's value by the data's own (default), to kernel alignment, or not at all",
      ).choices(["data", "alignment", "none"]),
    )
    .addOption(
      new Option("--optimizer <name>", "adam (default) or sgd with momentum").choices(["adam", "sgd"]),
    )
    .option("--lr <rate>", "its learning rate (default: 0.02 for adam, 0.01 for sgd)", positive)
    .option("--steps <n>", "steps of a restart at most (default: 1000)", whole)
    .option("--restarts <n>", "starts of the optimisation", whole, 8)
    .option(
      "--penalty <factor>",
      "keeps weights from gathering in one candidate: a larger factor spreads them, 0 leaves the objective as it is (default: 1; 0 with --reference)",
      nonNegative,
    )
    .option("--keep <n>", "size of the groups of mrmr and rfe", whole, 4)
    .option("--fix <weights>", "a weights.json whose weights stay: other candidates are weighed beside them")
    .option("--classes <n>", "so many classes, drawn at random", whole)
    .option("--per-class <n>", "so many units of a class, drawn at random (words: 300)", whole)
    .option("--least-words <n>", "words count from so many occurrences on (default: 300)", whole)
    .option(
      "--frames <n>",
      "frames that sequences are brought to (default: 10 for phones and words, else 30)",
      whole,
    )
    .option("--mels <n>", "bands of the spectrogram that stands for the speech", whole, 80)
    .option(
      "--memory <MB>",
      "what kernels may take; beyond it they are computed again in each pass",
      whole,
      1024,
    )
    .option("--convergence", "also show how the estimates settle as the sample grows (ten draws a size)")
    .option("--ternary <names>", "also draw the estimate over the weights of three candidates", list)
    .option(
      "--errors <table>",
      "a CSV file `candidate,error` of models trained on single candidates, to compare rankings with",
    )
    .option("--seed <n>", "draws classes, units and starts", whole, 1)
    .option("--skip-bad", "leave out and list bad manifest lines and recordings")
    .option("--threads <n>", "worker threads (default: one a core)", whole)
    .action(run);
}

async function run(corpus: string, options: Options): Promise<void> {
  const { signal, dispose } = interruptSignal("stopping; the same command goes on from here");
  await select(corpus, options, signal).finally(dispose);
}

async function select(corpus: string, options: Options, signal: AbortSignal): Promise<void> {
  const { task, seed, json } = options;
  const log = (line: string) => void process.stderr.write(`${line}\n`);
  const names = candidatesOf(options.features);
  const fixed = options.fix === undefined ? {} : readWeights(options.fix, names);
  const errors = options.errors === undefined ? undefined : readErrors(options.errors, names);
  const corners = options.ternary === undefined ? undefined : cornersOf(options.ternary, names);
  const utterances = readManifest(corpus, {
    skipBad: options.skipBad,
    onBad: ({ message }) => log(`left out: ${message}`),
  });
  const { classes, perClass, leastWords } = options;
  const sources = unitsOf(utterances, { task, classes, perClass, leastWords, seed });
  checkBaseline(options.method, names, sources);
  const folder = options.out ?? join("runs", `select-${task}`);
  const began = performance.now();
  const bar = progress({ label: "describing recordings", total: sources.length });
  const units = await collectUnits(sources, {
    candidates: names,
    mels: options.mels,
    frames: options.frames ?? (task === "phones" || task === "words" ? 10 : 30),
    folder,
    threads: options.threads,
    skipBad: options.skipBad,
    signal,
    onSkip: (message) => bar.print(`left out: ${message}`),
    onDone: (done) => bar.update(done),
  }).finally(() => bar.end());
  if (units === undefined) throw new RunError("stopped; the same command goes on");
  const described = (performance.now() - began) / 1000;
  const settings = estimateSettings(options);
  const estimator = new Estimator(units, settings);
  if (estimator.streamed)
    log("the kernels do not fit into --memory: they are computed again in each pass, which takes longer");
  const estimates = selection.estimateCandidates(estimator, seed);
  const warning = selection.scaleWarning(estimates, settings);
  if (warning !== undefined) log(`warning: ${warning}`);
  const choices = await chooseAll(estimator, estimates, options, fixed, signal);
  const seconds = (performance.now() - began) / 1000;
  const convergence = options.convergence
    ? selection.convergence(units, estimator, settings, { seed })
    : undefined;
  const triangle = corners && selection.ternary(units, corners, settings);
  const agreement = errors && selection.agreement(estimates, errors);
  const chosen = choices.find(({ method }) => method === options.method)!;
  const result = {
    task,
    corpus,
    method: options.method,
    // The spectrogram is always a target, and so are MFCC where they are not weighed with the others (eqs. 11 and 13).
    always: names.includes("mfcc") ? { mel: 1 } : { mel: 1, mfcc: 1 },
    weights: chosen.weights,
    choices,
    estimates,
    classes: estimator.classNames.length,
    units: units.classes.reduce((sum, { members }) => sum + members.length, 0),
    settings: { ...settings, penalty: options.penalty ?? (options.reference ? 0 : 1), seed },
    ...(warning !== undefined && { warning }),
    ...(convergence && { convergence }),
    ...(agreement && { agreement }),
    seconds: { describing: Number(described.toFixed(1)), all: Number(seconds.toFixed(1)) },
    version: ownVersion(),
  };
  put(join(folder, "weights.json"), `${JSON.stringify(result, null, 2)}\n`);
  const lowest = triangle?.reduce((a, b) => (b.value < a.value ? b : a));
  put(
    join(folder, "report.html"),
    await selectionReport({
      task,
      corpus,
      command: `voxsmith select ${corpus} --task ${task} --features ${options.features.join(",")} --method ${options.method}`,
      facts: [
        ["units", String(result.units)],
        ["classes", String(result.classes)],
        ["estimate", describe(settings)],
        ["time", `${seconds.toFixed(0)} s`],
      ],
      warnings: warning === undefined ? [] : [warning],
      estimates,
      choices,
      convergence,
      ternary: triangle && { corners: corners!, points: triangle, steps: 12, mark: lowest!.weights },
      agreement,
      errors,
    }),
  );
  printResult({ json }, result, textOf(estimates, choices, folder));
}

/** Two of the methods cannot choose from everything. @throws UserError */
function checkBaseline(
  method: selection.Method,
  names: readonly CandidateName[],
  sources: readonly UnitSource[],
): void {
  if (method !== "mrmr" && method !== "rfe") return;
  if (names.every(isSpectral))
    throw new UserError(
      `--method ${method}: chooses among labels only, and --features has none but spectral candidates`,
    );
  const classes = new Set(sources.flatMap(({ units }) => units.map((unit) => unit.class)));
  if (method === "rfe" && classes.size < 2)
    throw new UserError("--method rfe: tells classes apart, and there is only one");
}

async function chooseAll(
  estimator: Estimator,
  estimates: readonly selection.CandidateEstimate[],
  options: Options,
  fixed: Readonly<Record<string, number>>,
  signal: AbortSignal,
): Promise<selection.Choice[]> {
  const { optimizer, lr, steps, restarts, keep, seed, reference = false } = options;
  const penalty = options.penalty ?? (reference ? 0 : 1);
  let bar: ReturnType<typeof progress> | undefined;
  const settings: selection.SelectOptions = {
    keep,
    seed,
    fixed,
    penalty,
    threads: options.threads,
    signal,
    optimise: {
      optimizer: optimizer ?? (reference ? "sgd" : "adam"),
      lr,
      steps,
      restarts,
      referenceStart: reference,
      ...(reference && { tolerance: 0 }),
    },
    onStep: (method, done, total) => {
      bar ??= progress({ label: `weights by ${method}`, total });
      bar.update(done);
    },
  };
  const choices: selection.Choice[] = [];
  for (const method of selection.methods) {
    choices.push(await selection.choose(method, estimator, estimates, settings).finally(() => bar?.end()));
    bar = undefined;
  }
  return choices;
}

function estimateSettings(options: Options): EstimateOptions {
  const base = options.reference ? referenceOptions : {};
  const { centring, aggregate } = options;
  return {
    centring: centring ?? base.centring ?? "paper",
    aggregate: aggregate ?? base.aggregate ?? "weighted",
    zScore: base.zScore ?? options.zScore,
    bandwidth: options.bandwidth ?? base.bandwidth ?? "median",
    normalise: options.normalise ?? base.normalise ?? "data",
    clamp: base.clamp ?? false,
    memory: options.memory * 2 ** 20,
  };
}

const describe = ({ centring, aggregate, zScore, bandwidth, normalise }: EstimateOptions): string =>
  [
    `${centring} centring`,
    aggregate,
    zScore ? "standardised" : "as they are",
    `bandwidth ${bandwidth}`,
    normalise === "none" ? "plain HSIC" : `normalised by ${normalise}`,
  ].join(", ");

function textOf(
  estimates: readonly selection.CandidateEstimate[],
  choices: readonly selection.Choice[],
  folder: string,
): string {
  const width = Math.max(...estimates.map(({ name }) => name.length));
  const head = ["candidate".padEnd(width), "estimate", ...choices.map(({ method }) => method.padStart(9))];
  const rows = [...estimates]
    .sort((a, b) => a.value - b.value)
    .map(({ name, value }) => [
      name.padEnd(width),
      value.toFixed(4).padStart(8),
      ...choices.map(({ weights }) => weights[name].toFixed(3).padStart(9)),
    ]);
  return [head, ...rows, [`${join(folder, "weights.json")} and report.html hold all of it.`]]
    .map((row) => row.join("  "))
    .join("\n");
}

const put = (path: string, text: string) =>
  writeAtomically(path, (write) => write(new TextEncoder().encode(text)));

/** Weights of an earlier selection, for candidates that are among these. */
function readWeights(path: string, names: readonly string[]): Record<string, number> {
  let weights: unknown;
  try {
    weights = JSON.parse(readFileSync(path, "utf8")).weights;
  } catch (error) {
    throw new UserError(`--fix ${path}: cannot be read: ${(error as Error).message}`);
  }
  if (typeof weights !== "object" || weights === null)
    throw new UserError(`--fix ${path}: has no "weights"; it must be a weights.json of this command`);
  const entries = Object.entries(weights as Record<string, unknown>).map(([name, weight]) => {
    if (typeof weight !== "number" || !(weight >= 0))
      throw new UserError(`--fix ${path}: the weight of ${name} must be a number of at least 0`);
    return [name, weight] as const;
  });
  const unknown = entries.find(([name]) => !names.includes(name));
  if (unknown !== undefined)
    throw new UserError(`--fix ${path}: weighs ${unknown[0]}, which is not among --features`);
  if (names.every((name) => entries.some(([fixed]) => fixed === name)))
    throw new UserError(
      `--fix ${path}: weighs all of --features, so that none is left to weigh; name more of them`,
    );
  return Object.fromEntries(entries);
}

function readErrors(path: string, names: readonly string[]): Record<string, number> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new UserError(`--errors ${path}: ${reason(error)}`);
  }
  const errors: Record<string, number> = {};
  let heading = true;
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "") continue;
    const [name, number = ""] = line.split(",").map((part) => part.trim());
    const value = number === "" ? Number.NaN : Number(number);
    const first = heading;
    heading = false;
    if (first && !Number.isFinite(value) && !names.includes(name)) continue;
    if (!names.includes(name) || !Number.isFinite(value))
      throw new UserError(`${path}:${i + 1}: must be a candidate of --features, a comma and a number`);
    if (errors[name] !== undefined) throw new UserError(`${path}:${i + 1}: ${name} has an error already`);
    errors[name] = value;
  }
  if (Object.keys(errors).length < 3)
    throw new UserError(`${path}: rankings need errors of at least 3 candidates`);
  return errors;
}

function cornersOf(words: readonly string[], names: readonly string[]): [string, string, string] {
  const [a, b, c] = words;
  if (new Set(words).size !== 3 || words.length !== 3 || words.some((word) => !names.includes(word)))
    throw new UserError(`--ternary ${words.join(",")}: must be three different candidates of --features`);
  return [a, b, c];
}
