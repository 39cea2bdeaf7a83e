import { join } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { countBy } from "../corpus/group.ts";
import { RunError, UserError } from "../errors.ts";
import { ALL_BASELINES } from "../methods/severity/baselines/run.ts";
import { CLASSIFIERS, type Classifier } from "../methods/severity/baselines/search.ts";
import {
  baselinesOnly,
  crossValidate,
  type ProtocolOptions,
  type ProtocolOutcome,
  protocolTables,
  searchGrid,
  writeText,
} from "../methods/severity/study/protocol.ts";
import type { Criterion } from "../methods/severity/study/select.ts";
import {
  cellsOf,
  openStudy,
  partsOf,
  type Setting,
  type Study,
  settingsOf,
} from "../methods/severity/study/study.ts";
import { gridCsv, markdown } from "../methods/severity/study/tables.ts";
import { gridFigures, severityStudyPage } from "../report/severity-study.ts";
import { readRecipe } from "../train/recipe.ts";
import { collect, hours, interruptSignal, newCommand, printResult, whole } from "./command.ts";

interface Options {
  json?: boolean;
  data?: string;
  out?: string;
  set: string[];
  folds?: number[];
  seeds: number;
  jobs: number;
  threads: number;
  budget?: number;
  baselines: boolean;
  mlpSettings: number;
  retryFailed?: boolean;
  plan?: boolean;
  single: boolean;
  alpha: number[];
  e: number[];
  select: Criterion;
  classifiers?: Classifier[];
}

const shared = (command: Command): Command =>
  command
    .argument("<recipe>", "a recipe with a cross-entropy and a CTC objective, `corpus.classes` and folds")
    .option("--data <folder>", "the folder that the recipe's manifest is in")
    .option("--out <folder>", "where runs, tables and the page go (default: runs/severity-NAME)")
    .option("--set <key=value>", "set a recipe key in all runs; may be repeated", collect, [])
    .option("--folds <list>", "only these folds, such as 0,2 (default: all)", integers)
    .option("--seeds <n>", "runs of each setting and fold, with seeds that follow the recipe's", whole, 1)
    .option("--jobs <n>", "runs at the same time, each a process", whole, 1)
    .option("--threads <n>", "processor threads of a run", whole, 1)
    .option("--budget <hours>", "start no run that is expected to end later than this", hours)
    .option("--no-baselines", "leave out the classifiers over acoustic features")
    .option("--mlp-settings <n>", "how many of the 320 perceptron settings to try in each fold", whole, 32)
    .option("--retry-failed", "run again what failed in an earlier call")
    .option("--plan", "check corpus and folds, say what would be run, and run nothing");

/** `voxsmith severity cv`: one setting, the recipe's own, against the single task and the baselines. */
export function cvCommand(): Command {
  return shared(
    newCommand(
      "cv",
      "Cross-validates a severity recipe over speakers: each fold is once the test, the next one validates. Prints a table like the paper's Table 1, with intervals over speakers. The same command goes on where it was stopped.",
      ["severity cv recipes/qolt/severity.yaml --data qolt --jobs 2"],
    ),
  )
    .summary("cross-validate a recipe over speakers, with single task and baselines beside it")
    .option("--no-single", "leave out the run without the auxiliary task")
    .action(async (path: string, options: Options) => {
      const study = studyOf(path, options);
      const own = settingOf(study);
      const settings = options.single && own.alpha > 0 ? [{ alpha: 0, e: 0 }, own] : [own];
      await run("cv", study, settings, options, crossValidate);
    });
}

/** `voxsmith severity baselines`: what any model has to beat, in minutes. */
export function baselinesCommand(): Command {
  return shared(
    newCommand(
      "baselines",
      "Grades by acoustic features alone (eGeMAPS, hand-crafted, both) with support vectors, perceptrons and boosted trees, in the folds that `severity cv` and `severity grid` use. Nothing is trained on audio: it takes minutes.",
      ["severity baselines recipes/qolt/severity.yaml --data qolt --classifiers svm,trees"],
    ),
  )
    .summary("the classifiers over acoustic features alone, in the same folds")
    .option("--classifiers <list>", "of svm, mlp and trees", classifiers, [...CLASSIFIERS])
    .action(async (path: string, options: Options) => {
      await run("baselines", studyOf(path, options), [], options, baselinesOnly);
    });
}

/** `voxsmith severity grid`: alpha and e, chosen inside each fold. */
export function gridCommand(): Command {
  return shared(
    newCommand(
      "grid",
      "Searches alpha (weight of the auxiliary CTC) and e (epochs before grading joins) in every fold. The validation part chooses; the test part is only shown to the chosen runs. Prints tables like the paper's Tables 1 and 2 and writes heat maps. Resumable, run by run.",
      [
        "severity grid recipes/qolt/severity.yaml --data qolt --jobs 2",
        "severity grid recipes/qolt/severity.yaml --data qolt --alpha 1,0.1 --e 0,10 --folds 0 --plan",
      ],
    ),
  )
    .summary("search alpha and e inside each fold, as the paper's Table 2")
    .option(
      "--alpha <list>",
      "weights of the auxiliary task; 0 is the single task",
      numbers,
      [1, 0.1, 0.01, 0.001, 0],
    )
    .option("--e <list>", "epochs of the auxiliary task alone", numbers, [0, 10, 20, 30, 40])
    .addOption(
      new Option("--select <score>", "the validation score that chooses")
        .choices(["accuracy", "macroF1", "kappa"])
        .default("accuracy"),
    )
    .action(async (path: string, options: Options) => {
      const study = studyOf(path, options);
      const settings = settingsOf(options.alpha, options.e);
      if (settings.every(({ alpha }) => alpha === 0))
        throw new UserError(
          "--alpha: a grid needs a weight above 0; for the single task alone use `severity cv`",
        );
      await run("grid", study, settings, options, searchGrid);
    });
}

function studyOf(path: string, { set, data, out }: Options): Study {
  const recipe = readRecipe(path, set);
  return openStudy(recipe, data, out ?? join("runs", `severity-${recipe.name}`));
}

/** alpha and e as the recipe itself has them. */
function settingOf({ recipe, roles }: Study): Setting {
  const { weight } = recipe.objectives[roles.phonemes];
  const { from } = recipe.objectives[roles.severity];
  if (typeof weight !== "number")
    throw new UserError(
      `objectives.${roles.phonemes}.weight: must be one number, alpha, for a severity study`,
    );
  if (from !== undefined && !("epoch" in from))
    throw new UserError(`objectives.${roles.severity}.from: must be {epoch: e} for a severity study`);
  return { alpha: weight, e: from?.epoch ?? 0 };
}

type Protocol = (
  study: Study,
  settings: readonly Setting[],
  options: ProtocolOptions,
) => Promise<ProtocolOutcome>;

async function run(
  kind: "cv" | "grid" | "baselines",
  study: Study,
  settings: readonly Setting[],
  options: Options,
  protocol: Protocol,
): Promise<void> {
  const folds = options.folds ?? Array.from({ length: study.folds }, (_, fold) => fold);
  const wrong = folds.find((fold) => fold >= study.folds);
  if (wrong !== undefined)
    throw new UserError(`--folds ${wrong}: the recipe has folds 0 to ${study.folds - 1}`);
  const seeds = Array.from({ length: options.seeds }, (_, i) => study.recipe.seed + i);
  // Settings that no recipe may have are refused before anything runs.
  const cells = cellsOf(study, settings, folds, seeds);
  process.stderr.write(`${division(study)}\n`);
  if (options.plan) {
    const plan = { cells: cells.map(({ name }) => name), speakers: speakerCounts(study) };
    printResult(options, plan, `${cells.length} runs:\n${plan.cells.join("\n")}`);
    return;
  }
  const { signal, dispose } = interruptSignal("saving and stopping; the same command goes on from here");
  const outcome = await protocol(study, settings, {
    folds,
    seeds,
    select: options.select ?? "accuracy",
    jobs: options.jobs,
    threads: options.threads,
    budget: options.budget && options.budget * 3600,
    retryFailed: options.retryFailed,
    baselines: options.baselines
      ? {
          ...ALL_BASELINES,
          classifiers: options.classifiers ?? CLASSIFIERS,
          mlpSettings: options.mlpSettings,
        }
      : undefined,
    signal,
    log: (line) => process.stderr.write(`${line}\n`),
  }).finally(dispose);
  const tables = protocolTables(outcome);
  const { summaries, grid, choices, failed, left } = outcome;
  const result = { folder: study.folder, systems: summaries, grid, choices, failed, left };
  writeText(join(study.folder, `${kind}.json`), `${JSON.stringify(result, null, 2)}\n`);
  writeText(join(study.folder, `${kind}.md`), tables);
  if (grid.length > 0) {
    writeText(join(study.folder, "grid.csv"), gridCsv(grid));
    for (const [name, svg] of await gridFigures(grid)) writeText(join(study.folder, name), svg);
  }
  writeText(join(study.folder, `${kind}.html`), await severityStudyPage(study, outcome));
  printResult(
    options,
    result,
    `${tables}\n${join(study.folder, `${kind}.html`)} shows this, with heat maps.`,
  );
  if (signal.aborted) throw new RunError(`stopped with ${left} runs left; the same command goes on`);
  if (failed.length > 0 && summaries.length === 0) throw new RunError("no run finished; the table says why");
}

/** How speakers are dealt: grades in rows, folds in columns. */
function division(study: Study): string {
  const { roles, folds } = study;
  const counts = speakerCounts(study);
  const columns = Array.from({ length: folds }, (_, fold) => fold);
  const rows = roles.classes.map((grade) => [
    grade,
    ...columns.map((fold) => String(counts[fold][grade] ?? 0)),
  ]);
  const { train, valid, test } = partsOf(study, 0);
  return [
    `${study.utterances.length} utterances of ${study.grades.size} speakers; speakers by ${roles.label} and fold:`,
    markdown([roles.label, ...columns.map((fold) => `fold ${fold}`)], rows),
    `with fold 0 as the test: ${train.length} utterances train, ${valid.length} validate, ${test.length} test`,
  ].join("\n");
}

function speakerCounts({ grades, foldOf, folds }: Study): Record<string, number>[] {
  return Array.from({ length: folds }, (_, fold) =>
    Object.fromEntries(
      countBy(
        [...grades].filter(([speaker]) => foldOf.get(speaker) === fold),
        ([, grade]) => grade,
      ),
    ),
  );
}

function numbers(text: string): number[] {
  const values = text.split(",").map(Number);
  if (text === "" || values.some((value) => !(value >= 0)))
    throw new InvalidArgumentError("It must be numbers of at least 0 with commas between, such as 1,0.1.");
  return values;
}

function integers(text: string): number[] {
  const values = numbers(text);
  if (values.some((value) => !Number.isInteger(value)))
    throw new InvalidArgumentError("It must be whole numbers with commas between, such as 0,2.");
  return [...new Set(values)];
}

function classifiers(text: string): Classifier[] {
  const names = text.split(",");
  const wrong = names.find((name) => !CLASSIFIERS.some((each) => each === name));
  if (wrong !== undefined)
    throw new InvalidArgumentError(`It must be some of ${CLASSIFIERS.join(", ")} with commas between.`);
  return CLASSIFIERS.filter((each) => names.includes(each));
}
