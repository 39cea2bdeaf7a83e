import { dirname, join, resolve } from "node:path";
import type { Command } from "commander";
import type { Utterance } from "../corpus/manifest.ts";
import { UserError } from "../errors.ts";
import { Grader, type HeardSymbol } from "../methods/severity/grade.ts";
import { random } from "../random.ts";
import { publishRun } from "../report/of-run.ts";
import { drawnSymbols } from "../report/recording.ts";
import type { MetricResult, RunReportInput } from "../report/run-report.ts";
import { openCorpus, PARTS } from "../train/data.ts";
import { type Recipe, readRecipe } from "../train/recipe.ts";
import { readRun } from "../train/run-folder.ts";
import { train } from "../train/trainer.ts";
import { interruptSignal, newCommand, printResult, whole } from "./command.ts";

interface Options {
  json?: boolean;
  short?: boolean;
  out?: string;
  seed?: number;
  threads?: number;
  overwrite?: boolean;
}

const RECIPE = resolve(import.meta.dirname, "../../recipes/demo/severity.yaml");

/**
 * The same path in seconds instead of minutes, for checks that it works at all. All speakers say the same four sentences,
 * so that no phone is new to the test part.
 */
const SHORT = [
  "name=demo-short",
  "corpus.synthetic.speakers=15",
  "corpus.synthetic.utterances=4",
  "corpus.synthetic.sentences=[The garden gate is open., Two birds sat on the fence., Keep your jacket in the car., Fish swim under the bridge.]",
  "steps=20",
  "evaluate.every=10",
];

export function command(): Command {
  return newCommand(
    "demo",
    "Makes synthetic speech in five grades of simulated dysarthria, fine-tunes the small model that the package brings on grades and phonemes, tests it on speakers it never heard, grades one recording and writes a report. It needs no data and takes a few minutes on two cores; the same command goes on with what Ctrl-C or a crash left.",
    ["demo", "demo --short --out runs/check"],
  )
    .option("--short", "fewer utterances and steps: shows in seconds that everything works, learns nothing")
    .option("--out <folder>", "the run's folder (default: runs/demo, or runs/demo-short)")
    .option("--seed <n>", "draws speakers, sentences and weights (default: 1)", whole)
    .option("--threads <n>", "processor threads (default: 1; more are no faster)", whole)
    .option("--overwrite", "replace the run that the folder holds")
    .action(async (options: Options) => {
      const { short = false, seed, threads } = options;
      const recipe = readRecipe(RECIPE, [
        ...(short ? SHORT : []),
        ...(seed === undefined ? [] : [`seed=${seed}`, `corpus.synthetic.seed=${seed}`]),
        ...(threads === undefined ? [] : [`threads=${threads}`]),
      ]);
      const out = options.out ?? join("runs", recipe.name);
      const again = demoCommand(options);
      const report = join(out, "report.html");
      // Said before a corpus is made for nothing.
      if (readRun(out)?.status === "finished" && !options.overwrite)
        throw new UserError(
          `${out}: holds a finished run, see ${report}; --overwrite makes it anew, --out elsewhere`,
        );
      let graded: Graded | undefined;
      const { signal, dispose } = interruptSignal("saving after this step; Ctrl-C again stops at once");
      const result = await train(recipe, {
        out,
        overwrite: options.overwrite,
        skipBad: false,
        signal,
        publish: async (folder, metrics) => {
          graded = await gradeOne(folder, recipe);
          await publishRun(folder, metrics, again, reportWith(graded));
        },
        log: (line) => process.stderr.write(`${line}\n`),
      }).finally(dispose);
      if (graded === undefined) {
        process.stderr.write(`saved after step ${result.step}; go on with: ${again}\n`);
        process.exitCode = 130;
      }
      printResult(
        options,
        { ...result, ...(graded && { report, graded: { ...graded, samples: undefined } }) },
        graded === undefined ? `interrupted: ${out}` : summary(graded, result.metrics, report),
      );
    });
}

/** The recording that the demo grades, and what the model made of it. */
interface Graded {
  id: string;
  speaker: string;
  sampleRate: number;
  samples: Float32Array;
  text: string;
  truth: string;
  predicted: string;
  probabilities: { label: string; value: number }[];
  expected: string[];
  heard: HeardSymbol[];
  /** The corpus it is from. */
  parts: NonNullable<RunReportInput["parts"]>;
}

const partFacts = (name: string, utterances: readonly Utterance[]): Graded["parts"][number] => ({
  name,
  utterances: utterances.length,
  speakers: new Set(utterances.map(({ speaker }) => speaker)).size,
  seconds: utterances.reduce((sum, { duration = 0 }) => sum + duration, 0),
});

/** Grades one recording of the test part, drawn by the seed and not chosen for its result. */
async function gradeOne(folder: string, recipe: Recipe): Promise<Graded> {
  const options = { cache: dirname(folder), skipBad: false, log: () => {} };
  const corpus = await openCorpus("main", recipe.corpus, options);
  const { test } = corpus;
  const one = random(recipe.seed, "recording to grade").shuffle(test)[0];
  const grader = await Grader.open(folder);
  try {
    const { samples, classes, heard } = await grader.gradeFile(one.audio);
    return {
      id: one.id,
      speaker: one.speaker ?? "",
      sampleRate: grader.sampleRate,
      samples,
      text: one.text ?? "",
      truth: String(one.labels?.severity),
      ...classes.severity,
      expected: (one.phones ?? []).map((phone) => (typeof phone === "string" ? phone : phone.phone)),
      heard: heard.phonemes,
      parts: PARTS.map((name) => partFacts(name, corpus[name])),
    };
  } finally {
    await grader.dispose();
  }
}

const GRADES = "0 none, 1 mild, 2 mild to moderate, 3 moderate to severe, 4 severe";

/** The report of the run with the graded recording in it. */
const reportWith =
  (graded: Graded) =>
  (input: RunReportInput): RunReportInput => ({
    ...input,
    title: "Severity and phonemes of synthetic speech",
    summary: `A small wav2vec 2.0 that began with random weights learned to grade speech and to write down its phonemes at the same time, and was tested on speakers it never heard. Grades: ${GRADES}.`,
    simulated:
      "A speech synthesiser spoke and a program impaired its speech in five grades. The figures say nothing about people.",
    metrics: [...(input.metrics ?? []), ...withinOne(input)],
    graded: [{ ...graded, id: `${graded.id}, “${graded.text}”`, heard: drawnSymbols(graded.heard) }],
    symbols: "phonemes",
    parts: graded.parts,
    dataNotes: [
      "No speaker is in two parts. All speakers read from the same few sentences, so the phoneme error rate is that of known sentences in new voices.",
    ],
  });

/** How often the grade is at most one off: a confusion of neighbours is the smaller mistake. */
function withinOne({ confusion = [], metrics = [] }: RunReportInput): MetricResult[] {
  const [matrix] = confusion;
  if (matrix === undefined) return [];
  const { counts } = matrix;
  const all = counts.flat().reduce((sum, count) => sum + count, 0);
  const near = counts
    .flatMap((row, truth) => row.filter((_, called) => Math.abs(truth - called) <= 1))
    .reduce((sum, count) => sum + count, 0);
  const { split, items } = metrics[0] ?? {};
  return [
    {
      name: "severity: at most one grade off",
      value: near / all,
      percent: true,
      better: "higher",
      split,
      items,
    },
  ];
}

function summary(graded: Graded, metrics: Readonly<Record<string, number>>, report: string): string {
  const percent = (value: number) => `${(100 * value).toFixed(0)} %`;
  const sure = graded.probabilities.find(({ label }) => label === graded.predicted)?.value ?? 0;
  const show = (name: string) => percent(metrics[name] ?? Number.NaN);
  return [
    "On speakers it never heard:",
    `  grade right          ${show("test.severity.accuracy")} (log-mel statistics + ridge: ${show("baseline.test.severity.accuracy")}, chance: 20 %)`,
    `  phoneme error rate   ${show("test.phonemes.per")}`,
    `One recording, ${graded.id}, "${graded.text}":`,
    `  grade      ${graded.predicted} (${percent(sure)}), in truth ${graded.truth}`,
    `  expected   ${graded.expected.join(" ")}`,
    `  heard      ${graded.heard.map(({ symbol }) => symbol).join(" ") || "(nothing)"}`,
    `Report: ${report}`,
  ].join("\n");
}

/** The command that makes this run, or goes on with it. */
function demoCommand({ short, out, seed, threads }: Options): string {
  const option = (name: string, value: string | number | undefined) =>
    value === undefined ? "" : ` ${name} ${/^[\w./=:@%+,-]+$/.test(`${value}`) ? value : `'${value}'`}`;
  return `voxsmith demo${short ? " --short" : ""}${option("--out", out)}${option("--seed", seed)}${option("--threads", threads)}`;
}
