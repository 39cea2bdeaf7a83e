import { existsSync } from "node:fs";
import { join } from "node:path";
import { readManifest, type Utterance } from "../../corpus/manifest.ts";
import { sentences } from "../../corpus/sentences.ts";
import { symbolsOf } from "../../corpus/vocab.ts";
import { RunError, UserError } from "../../errors.ts";
import { hash32 } from "../../random.ts";
import { duration } from "../../train/progress.ts";
import { readRecipe } from "../../train/recipe.ts";
import { readRun } from "../../train/run-folder.ts";
import { train } from "../../train/trainer.ts";
import { writeAtomically } from "../../weights/file.ts";
import { readJsonObject } from "../../weights/shards.ts";
import type { ReplicationOptions, ReplicationOutcome } from "../replications.ts";
import { analyseMasks, type MaskAnalysis } from "./analyse.ts";
import { analysisPage } from "./analysis-page.ts";
import { cellOf, derivedCorpus, type Runner, runCells, runFolder } from "./replication/cells.ts";
import { curvesPage } from "./replication/page.ts";
import {
  ablationSpecs,
  FULL,
  gridSpecs,
  LANGUAGES,
  type Language,
  languageSpecs,
  layerGroups,
  maskMethods,
  otherMethods,
  PRUNING,
  phoneSpec,
  pruningSpecs,
  type Scale,
  type Sources,
  TINY,
  taskSpecs,
  UPSTREAM_RECIPE,
  WEIGHTS,
} from "./replication/plan.ts";
import {
  bestMask,
  claimsOf,
  claimTable,
  errorTable,
  type Findings,
  lostRuns,
  phoneRows,
  type Results,
  type Row,
  taskRows,
  taskTable,
} from "./replication/section.ts";

/**
 * S3-Router in miniature: phoneme recognition on synthetic speech in ten of the paper's languages and real English. Full grid on two
 * languages and one seed, the settings that validation chose on three seeds, all languages at 10 % and ten minutes, pruning curves,
 * modules and layers, three other tasks.
 */
export async function replicate(options: ReplicationOptions): Promise<ReplicationOutcome> {
  const began = performance.now();
  let scale = options.tiny ? TINY : FULL;
  const { log, data } = options;
  for (const corpus of ["speechocean762", "phoible", "wakewords", "fsdd", "barista"])
    if (!existsSync(join(data, corpus)))
      throw new UserError(`${data}: has no ${corpus}; name the folder that holds the corpora with --data`);
  const planned = plannedRuns(scale);
  log(
    `${planned} runs of phoneme recognition and other tasks in ${options.folder}, about ${duration((planned * 60) / options.jobs)} at a minute a run${options.budget === undefined ? "" : `; budget ${duration(options.budget)}`}`,
  );
  if (options.planOnly) return { left: planned, result: { runs: planned } };
  const runner: Runner = {
    ...options,
    left: () =>
      options.budget === undefined ? undefined : options.budget - (performance.now() - began) / 1000,
  };
  const upstream = options.upstream ?? (await ownUpstream(scale, options));
  if (upstream === undefined) return { left: planned, result: {} };
  const english = englishCorpus(options);
  const layers = readJsonObject(join(upstream, "config.json")).num_hidden_layers;
  if (typeof layers === "number") scale = { ...scale, layers };
  const sources: Sources = {
    upstream,
    normalize: readJsonObject(join(upstream, "preprocessor_config.json")).do_normalize === true,
    english,
    symbols: await phonesOf(scale, english),
  };
  const run = async (specs: Parameters<typeof cellOf>[0][]) => {
    const outcome = await runCells(specs.map(cellOf), runner);
    left += outcome.left;
    return outcome.results as Results;
  };
  let left = 0;

  const grid = phoneRows(await run(gridSpecs(scale, sources)));
  const chosen = await run(chosenSpecs(scale, sources, grid));
  const repeated = [...grid.filter(isChosen(scale, grid)), ...phoneRows(chosen)];
  const languages = await run(languageSpecs(scale, sources));
  const analysis = analysisOf(languages, options);
  const ablations = phoneRows(await run(ablationSpecs(scale, sources)));
  const tuned = gridSpecs(scale, sources)
    .map(cellOf)
    .find(
      ({ method, language, utterances }) =>
        method === WEIGHTS && language === scale.grid[0] && utterances === 300,
    )!;
  const pruning = finished(runFolder(runner, tuned))
    ? phoneRows(await run(pruningSpecs(scale, sources, runFolder(runner, tuned))))
    : [];
  const tasks = await run(taskSpecs(scale, sources, taskCorpora(options)));

  const findings: Findings = {
    ...{ grid, chosen: repeated, pruning, ablations, tasks: taskRows(tasks), analysis },
  };
  const claims = claimsOf(findings);
  const curves = await curvesPage(findings, [["upstream", upstream]]);
  if (curves !== undefined) save(join(options.folder, "report.html"), curves);
  if (analysis !== undefined) save(join(options.folder, "masks.html"), await analysisPage(analysis));
  const section = sectionOf(
    options,
    scale,
    { upstream, grid, repeated, pruning, ablations, tasks, analysis },
    claimTable(claims),
    phoneRows(languages),
  );
  return {
    section,
    left,
    result: {
      upstream,
      claims,
      grid,
      repeated,
      languages: phoneRows(languages),
      pruning,
      ablations,
      associations: analysis?.inventories?.associations,
    },
  };
}

const save = (path: string, text: string) => writeAtomically(path, (put) => put(Buffer.from(text)));
const finished = (folder: string) => readRun(folder)?.status === "finished";

function plannedRuns(scale: Scale): number {
  const { grid, minutes, seeds, languages, pruned, moduleSparsities, layers, taskSparsities } = scale;
  const conditions = grid.length * minutes.length;
  const methods = otherMethods().length + maskMethods(scale).length;
  return (
    conditions * methods +
    conditions * (otherMethods().length + 1) * (seeds.length - 1) +
    2 * languages.length +
    3 * moduleSparsities.length +
    layerGroups(layers).length +
    PRUNING.length * pruned.length +
    3 * (1 + taskSparsities.length)
  );
}

/** Whether a run of the grid is one that is repeated with further seeds. */
const isChosen =
  ({ grid: languages }: Scale, grid: readonly Row[]) =>
  (row: Row): boolean =>
    languages.includes(row.language as Language) &&
    (otherMethods().some(([method]) => method === row.method) || row.method === bestOf(grid, row)?.method);

const bestOf = (grid: readonly Row[], { language, utterances }: Row) =>
  bestMask(grid.filter((row) => row.language === language && row.utterances === utterances));

/** Part B: the mask that validation chose in each condition, and the other methods, with further seeds. */
function chosenSpecs(scale: Scale, sources: Sources, grid: readonly Row[]) {
  const plans = new Map([...otherMethods(), ...maskMethods(scale)]);
  return grid.filter(isChosen(scale, grid)).flatMap(({ language, method, utterances = 0 }) =>
    scale.seeds.slice(1).map((seed) =>
      phoneSpec(scale, sources, "seeds", language as Language, method, plans.get(method)!, {
        minutes: utterances / 30,
        seed,
      }),
    ),
  );
}

/** Masks of all languages whose runs are finished, against PHOIBLE. */
function analysisOf(results: Results, options: ReplicationOptions): MaskAnalysis | undefined {
  const masked = [...results].filter(
    ([{ method }, { status }]) => method === "mask" && status === "finished",
  );
  if (masked.length < 3) return undefined;
  const codes = new Map(
    masked.map(([cell]) => [cell.recipe.name, LANGUAGES.find(([name]) => name === cell.language)![2]]),
  );
  return analyseMasks(
    masked.map(([cell]) => runFolder(options, cell)),
    { phoible: join(options.data, "phoible", "inventories.tsv"), languages: codes },
  );
}

/** @throws RunError where it learned hardly any phones: hours of what others make of it would say nothing */
async function ownUpstream({ upstream }: Scale, options: ReplicationOptions): Promise<string | undefined> {
  const folder = join(options.folder, "upstream");
  if (!finished(folder)) {
    options.log(`training a small upstream on synthetic English into ${folder}`);
    const recipe = readRecipe(UPSTREAM_RECIPE, [...upstream, `threads=${options.threads}`]);
    const { status } = await train(recipe, {
      out: folder,
      skipBad: false,
      signal: options.signal,
      log: () => {},
    });
    if (status !== "finished") return undefined;
  }
  const heard = phonesHeard(folder);
  if (heard !== undefined && heard > 0.5 && !options.tiny)
    throw new RunError(
      `the upstream in ${folder} learned hardly any phones (error rate ${percentOf(heard)} on new voices); remove the folder and train it with other settings, or give a model with --upstream`,
    );
  return folder;
}

/** Phone error rate of the replication's own upstream on voices it never heard. */
const phonesHeard = (folder: string) => readRun(folder)?.metrics?.["test.phonemes.per"];
const percentOf = (share: number) => `${(100 * share).toFixed(1)} %`;

/** The phones of each language: of its sentences, and of real English those of its manifest. */
async function phonesOf(scale: Scale, english: string): Promise<Map<string, string[]>> {
  // Loaded only here: the synthesiser is an optional package.
  const { phonemize } = await import("../../corpus/synthesis.ts");
  const all = new Map<string, string[]>();
  for (const language of scale.languages) {
    const [, voice] = LANGUAGES.find(([name]) => name === language)!;
    const spoken =
      voice === ""
        ? readManifest(join(english, "manifest.jsonl")).flatMap((utterance) =>
            symbolsOf(utterance, { unit: "phones", dropStress: true }),
          )
        : (await Promise.all(sentences[language].map((text) => phonemize(text, voice))))
            .flat()
            .flatMap(({ phones }) => phones);
    all.set(language, [...new Set(spoken)].sort());
  }
  return all;
}

/** Real English: every third speaker validates or tests; ten minutes of the others, drawn by their names, are what there is to learn from. */
function englishCorpus({ data, folder }: ReplicationOptions): string {
  const all = readManifest(join(data, "speechocean762", "manifest.jsonl"));
  const speakers = [...new Set(all.map(({ speaker }) => speaker))];
  const placeOf = ({ speaker }: Utterance) => speakers.indexOf(speaker) % 6;
  const rank = ({ id }: Utterance) => hash32("amount", id);
  const drawn = new Set<string>();
  let seconds = 0;
  for (const utterance of all.filter((each) => placeOf(each) < 4).sort((a, b) => rank(a) - rank(b))) {
    if (seconds >= 600) break;
    drawn.add(utterance.id);
    seconds += utterance.duration ?? 0;
  }
  return derivedCorpus(data, "speechocean762", folder, (utterance) => {
    const place = placeOf(utterance);
    if (place < 4) return drawn.has(utterance.id) ? { ...utterance, split: "train" } : undefined;
    return { ...utterance, split: place === 4 ? "valid" : "test" };
  });
}

/** Keywords, speakers and slot values, with a label and a split each; where speakers are the question they are in all parts. */
function taskCorpora({ data, folder }: ReplicationOptions) {
  const part = (index: number) => (index % 5 === 3 ? "valid" : index % 5 === 4 ? "test" : "train");
  return [
    {
      ...{ task: "keyword", label: "keyword" },
      folder: derivedCorpus(data, "wakewords", folder, (u, i) => ({ ...u, split: part(i) })),
    },
    {
      ...{ task: "speaker", label: "who" },
      folder: derivedCorpus(data, "fsdd", folder, (u, i) =>
        i % 7 > 0
          ? undefined
          : { ...u, speaker: undefined, labels: { who: u.speaker ?? "" }, split: part(Math.floor(i / 7)) },
      ),
    },
    {
      ...{ task: "slot", label: "drink" },
      folder: derivedCorpus(data, "barista", folder, (u, i) =>
        u.slots?.coffeeDrink === undefined
          ? undefined
          : { ...u, labels: { drink: u.slots.coffeeDrink }, split: part(i) },
      ),
    },
  ];
}

interface Parts {
  readonly upstream: string;
  readonly grid: readonly Row[];
  readonly repeated: readonly Row[];
  readonly pruning: readonly Row[];
  readonly ablations: readonly Row[];
  readonly tasks: Results;
  readonly analysis: MaskAnalysis | undefined;
}

function sectionOf(
  { upstream, tiny }: ReplicationOptions,
  scale: Scale,
  parts: Parts,
  claims: string,
  languages: readonly Row[],
): string | undefined {
  if (parts.grid.length === 0) return undefined;
  const heard = phonesHeard(parts.upstream);
  const from =
    upstream ??
    `a transformer of 4 layers and 128 channels over log mel features, trained on phones of synthetic English (supervised: a stand-in for the paper's self-supervised upstreams${heard === undefined ? "" : `; its own phone error rate on new voices: ${percentOf(heard)}`})`;
  return [
    `\`voxsmith results router${tiny ? " --tiny" : ""}\`, from ${from}. Synthetic speech of espeak-ng in ${scale.languages.length - 1} languages, 12 sentences each, speakers disjoint between parts (sentences are not: this measures new voices, not new words), and real English (speechocean762). Phoneme error rates in % on the test part; sparsity and checkpoint are chosen on the validation part.`,
    "### Claims",
    claims,
    "### Every method on two languages, one seed",
    errorTable(parts.grid),
    "### What validation chose, all seeds",
    errorTable(parts.repeated),
    "### All languages, ten minutes, sparsity 0.1",
    errorTable(languages.map((row) => ({ ...row, utterances: undefined }))),
    // What was chosen has the grid's own rows among its seeds.
    lostRuns([...new Set([...parts.grid, ...parts.repeated, ...languages])]),
    "### Pruning",
    errorTable(parts.pruning),
    "### Modules and layers",
    errorTable(parts.ablations),
    "### Other tasks (accuracy in %)",
    taskTable(taskRows(parts.tasks)),
  ].join("\n\n");
}
