import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { UserError } from "../../errors.ts";
import { duration } from "../../train/progress.ts";
import { readRecipe } from "../../train/recipe.ts";
import { readRun } from "../../train/run-folder.ts";
import type { ReplicationOptions, ReplicationOutcome } from "../replications.ts";
import { ALL_BASELINES } from "./baselines/run.ts";
import { corpora, type Size } from "./replication/corpora.ts";
import { type PartOutcome, type PartPlan, runPart } from "./replication/part.ts";
import { claimsOf, partSection } from "./replication/section.ts";
import { runVoxsmith } from "./study/child.ts";
import { openStudy } from "./study/study.ts";

/**
 * The severity paper in miniature, on 300 utterances of speechocean762: simulated grades over real speakers, and what is
 * really known of them, their age. Grid over alpha and e on one fold; the best three, the single task and all baselines on
 * three folds with three seeds.
 */

interface Scale {
  readonly size: Size;
  readonly alphas: readonly number[];
  readonly epochs: readonly number[];
  readonly folds: readonly number[];
  readonly seeds: readonly number[];
  readonly best: number;
  readonly mlpSettings: number;
  /** Changes of the recipes, and of that of the upstream. */
  readonly set: readonly string[];
  readonly upstream: readonly string[];
}

const FULL: Scale = {
  size: { speakers: 50, each: 6 },
  alphas: [1, 0.1, 0.01, 0.001],
  epochs: [0, 2, 4, 6, 8],
  // Fold 1 validates the grid's rotation: what it has a say in choosing it must not test.
  folds: [0, 2, 3],
  seeds: [1, 2, 3],
  best: 3,
  mlpSettings: 4,
  set: [],
  upstream: [],
};

const TINY: Scale = {
  size: { speakers: 16, each: 2 },
  alphas: [1, 0.1],
  epochs: [0, 1],
  folds: [0, 2],
  seeds: [1],
  best: 1,
  mlpSettings: 2,
  set: ["epochs=2", "corpus.split.folds=3"],
  upstream: [
    "steps=4",
    "evaluate.every=4",
    "corpus.synthetic.speakers=10",
    "corpus.synthetic.utterances=4",
    "corpus.synthetic.sentences=[The garden gate is open., Two birds sat on the fence.]",
  ],
};

const RECIPES = resolve(import.meta.dirname, "../../../recipes/speechocean762");
const NANO = join("models", "nano");
const STAND_IN = join(RECIPES, "upstream.yaml");
const STAND_IN_SAID =
  "The upstream stands in for a pre-trained one: a transformer of 0.55 M parameters over log mel features, trained on phones of synthetic voices (`recipes/speechocean762/upstream.yaml`); it knows something of phones and nothing of grades, ages or these speakers.";

export async function replicate(options: ReplicationOptions): Promise<ReplicationOutcome> {
  const began = performance.now();
  const scale = options.tiny ? TINY : FULL;
  const { log, signal } = options;
  if (!existsSync(join(options.data, "speechocean762", "manifest.jsonl")))
    throw new UserError(
      `${options.data}: has no speechocean762/manifest.jsonl; name the folder that does with --data`,
    );
  const wanted = options.upstream ?? (existsSync(join(NANO, "config.json")) ? NANO : STAND_IN);
  // A recipe is trained first, into a folder of its name.
  const given = wanted.endsWith(".yaml") ? undefined : wanted;
  const named = resolve(wanted) === STAND_IN ? undefined : wanted;
  describe(scale, named, options);
  if (options.planOnly) return { left: 2 * runsOf(scale), result: { runs: 2 * runsOf(scale) } };
  const left = () =>
    options.budget === undefined ? undefined : options.budget - (performance.now() - began) / 1000;
  const { simulated, age } = await corpora(options.data, options.folder, scale.size, options);
  const upstream = given ?? (await ownUpstream(wanted, scale, options));
  const set = [...scale.set, `upstream.model=${upstream}`];
  const planOf = (
    recipe: string,
    corpus: string,
    part: string,
    words: Pick<PartPlan, "title" | "about">,
  ): PartPlan => ({
    ...words,
    ...scale,
    study: openStudy(readRecipe(join(RECIPES, recipe), set), corpus, join(options.folder, part)),
    gridFold: 0,
    baselines: { ...ALL_BASELINES, mlpSettings: scale.mlpSettings },
  });
  const plans = [
    planOf("severity-simulated.yaml", simulated, "simulated", {
      title: "Simulated grades over real speakers",
      about:
        "Each speaker got one of five grades; the simulator of `voxsmith corpus simulate` changed their recordings accordingly. **No clinical data**: these figures compare methods and say nothing about patients.",
    }),
    planOf("age.yaml", age, "age", {
      title: "Real labels: age band and phones",
      about:
        "The same recordings as they are; the classes are four age bands (6-8, 9-13, 19-21, 22-33 years).",
    }),
  ];
  const outcomes: { plan: PartPlan; outcome: PartOutcome }[] = [];
  for (const plan of plans)
    outcomes.push({ plan, outcome: await runPart(plan, { ...options, left, log, signal }) });
  const undone = outcomes.reduce((sum, { outcome }) => sum + outcome.left, 0);
  return {
    section: sectionOf(outcomes, scale, named, options),
    left: undone,
    result: outcomes.map(({ plan, outcome: { grid, best, summaries, left: some, title } }) => ({
      title,
      best: best.map(({ alpha, e }) => ({ alpha, e })),
      grid,
      systems: summaries,
      claims: claimsOf(outcomes.find((one) => one.plan === plan)!.outcome, plan.study.roles.classes),
      left: some,
    })),
  };
}

/** Trains the small upstream of this replication, or finds it there. */
async function ownUpstream(
  recipe: string,
  { upstream }: Scale,
  options: ReplicationOptions,
): Promise<string> {
  const folder = join(options.folder, basename(recipe, ".yaml"));
  if (readRun(folder)?.status === "finished") return folder;
  options.log(`training a small upstream on synthetic voices into ${folder}`);
  await runVoxsmith(
    [
      ...["train", recipe, "--out", folder, "--threads", String(options.threads)],
      ...upstream.flatMap((each) => ["--set", each]),
    ],
    { saidIn: `${folder}.log`, signal: options.signal },
  );
  return folder;
}

/** Training runs and searches of one part. */
const runsOf = ({ alphas, epochs, folds, seeds, best }: Scale): number =>
  alphas.length * epochs.length +
  1 +
  (best + 1) * (folds.length * seeds.length - 1) +
  3 * folds.length * (2 + seeds.length);

function describe(
  scale: Scale,
  upstream: string | undefined,
  { log, budget, folder, jobs }: ReplicationOptions,
): void {
  const { alphas, epochs, folds, seeds, best, size } = scale;
  log(
    `two parts (simulated grades, age bands) over ${size.speakers * size.each} utterances of ${size.speakers} speakers, from ${upstream ?? "a small upstream trained on synthetic voices first"}, in ${folder}`,
  );
  log(
    `each: grid of ${alphas.length} alpha x ${epochs.length} e and the single task on one fold; the best ${best} and the single task on ${folds.length} folds x ${seeds.length} seeds; 9 baselines there`,
  );
  // Measured once on two cores that were busy otherwise; a run tells its own rest as it goes.
  const seconds = 2 * runsOf(scale) * 60;
  log(
    `about ${2 * runsOf(scale)} runs of about a minute: ${duration(seconds / jobs)}${budget === undefined ? "" : `; budget ${duration(budget)}`}`,
  );
}

function sectionOf(
  outcomes: readonly { plan: PartPlan; outcome: PartOutcome }[],
  { size, epochs, mlpSettings }: Scale,
  upstream: string | undefined,
  options: ReplicationOptions,
): string {
  const words = [
    `Made by \`voxsmith results severity${options.upstream === undefined ? "" : ` --upstream ${options.upstream}`}\`: ${size.speakers * size.each} utterances of ${size.speakers} speakers of speechocean762, speaker-independent folds stratified by class and gender, 20 epochs with e in ${epochs.join(", ")} (a fifth of the paper's 100 and 0 to 40), batch 4, Adam. ${
      upstream === undefined
        ? STAND_IN_SAID
        : `The upstream is \`${upstream}\`${upstream.endsWith(".yaml") ? ", a recipe that was trained first" : ""}.`
    } The hand-crafted set lacks what needs phones with times or a recogniser (rhythm, vowel space, correct phones), which this corpus does not have; ${mlpSettings} of the 320 perceptron settings were drawn for each search, and the best baseline is the one that tests best, which favours it.`,
    "",
    "A claim *holds* where a 95 % bootstrap interval over speakers of the difference lies above 0, and is *undecided* where the difference is positive but the interval is not.",
    "",
  ];
  return [
    ...words,
    ...outcomes.map(({ plan, outcome }) => partSection(outcome, plan.study.roles.classes)),
  ].join("\n");
}
