import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Utterance } from "../../../corpus/manifest.ts";
import { WorkerPool } from "../../../corpus/worker-pool.ts";
import { hash32 } from "../../../random.ts";
import { duration } from "../../../train/progress.ts";
import { writeAtomically } from "../../../weights/file.ts";
import type { Graded } from "../study/scores.ts";
import { partsOf, type RunOptions, type Study } from "../study/study.ts";
import { FEATURE_SETS, type FeatureSet, type FeatureTable, featureTable } from "./features.ts";
import { CLASSIFIERS, type Classifier, type SearchResult, type SearchTask } from "./search.ts";

/** The paper's baselines over the same rotations as the model's: nothing of a test part is seen before the choice is made. */

export interface BaselineSpec {
  readonly sets: readonly FeatureSet[];
  readonly classifiers: readonly Classifier[];
  /** Of the 320 perceptrons, how many are tried in each fold. */
  readonly mlpSettings: number;
}

export const ALL_BASELINES: BaselineSpec = { sets: FEATURE_SETS, classifiers: CLASSIFIERS, mlpSettings: 32 };

export interface BaselineResult {
  readonly set: FeatureSet;
  readonly classifier: Classifier;
  readonly fold: number;
  readonly seed: number;
  readonly search: SearchResult;
  /** Of the test part. */
  readonly answers: Graded[];
}

/**
 * Searches each classifier on each set of features in each fold. Finished searches are kept in files and found again.
 * Support vectors and trees leave nothing to chance: they are searched with the first seed only.
 */
export async function runBaselines(
  study: Study,
  folds: readonly number[],
  seeds: readonly number[],
  spec: BaselineSpec,
  options: RunOptions,
): Promise<{ results: BaselineResult[]; left: number }> {
  const began = performance.now();
  mkdirSync(join(study.folder, "baselines"), { recursive: true });
  const table = await featureTable(
    study.utterances,
    join(study.folder, "baselines", "features.json"),
    options,
  );
  const plan = spec.sets.flatMap((set) =>
    spec.classifiers.flatMap((classifier) =>
      (classifier === "mlp" ? seeds : seeds.slice(0, 1)).flatMap((seed) =>
        folds.map((fold) => ({ set, classifier, fold, seed })),
      ),
    ),
  );
  const results: BaselineResult[] = [];
  const todo = plan.filter((one) => {
    const kept = readKept(study, spec, one);
    if (kept !== undefined) results.push({ ...one, ...kept });
    return kept === undefined;
  });
  if (todo.length === 0) return { results, left: 0 };
  options.log(`${plan.length} searches of baselines, ${todo.length} to run`);
  const threads = Math.min(options.jobs, todo.length);
  const pool = new WorkerPool<SearchTask, SearchResult>(import.meta.url, "search-worker", threads);
  const close = () => void pool.close();
  options.signal.addEventListener("abort", close, { once: true });
  let next = 0;
  const over = () =>
    options.signal.aborted ||
    (options.budget !== undefined && (performance.now() - began) / 1000 > options.budget);
  const worker = async () => {
    while (next < todo.length && !over()) {
      const one = todo[next++];
      const parts = partsOf(study, one.fold);
      const search = await pool.run(taskOf(study, table, parts, one, spec)).catch((error: unknown) => {
        if (options.signal.aborted) return undefined;
        throw error;
      });
      if (search === undefined) return;
      const answers = answersOf(study, parts.test, search);
      const text = JSON.stringify({ key: keyOf(study, spec, one), search, answers });
      writeAtomically(pathOf(study, one), (put) => put(Buffer.from(text)));
      results.push({ ...one, search, answers });
      options.log(
        `  ${one.set} ${one.classifier}, fold ${one.fold}: ${search.tried} settings in ${duration(search.seconds)}, ${(100 * search.valid.accuracy).toFixed(1)} % on validation`,
      );
    }
  };
  try {
    await Promise.all(Array.from({ length: threads }, worker));
  } finally {
    options.signal.removeEventListener("abort", close);
    await pool.close();
  }
  return { results, left: plan.length - results.length };
}

type Place = Pick<BaselineResult, "set" | "classifier" | "fold" | "seed">;

const pathOf = ({ folder }: Study, { set, classifier, fold, seed }: Place) =>
  join(folder, "baselines", `${set}-${classifier}-fold${fold}-seed${seed}.json`);

/** What a search depends on besides its place; only perceptrons are drawn. */
const keyOf = (study: Study, { mlpSettings }: BaselineSpec, { classifier }: Place) =>
  hash32(study.data, classifier === "mlp" ? mlpSettings : 0);

function readKept(study: Study, spec: BaselineSpec, place: Place) {
  const path = pathOf(study, place);
  if (!existsSync(path)) return undefined;
  const kept: { key: number; search: SearchResult; answers: Graded[] } = JSON.parse(
    readFileSync(path, "utf8"),
  );
  return kept.key === keyOf(study, spec, place) ? { search: kept.search, answers: kept.answers } : undefined;
}

function taskOf(
  study: Study,
  table: FeatureTable,
  parts: ReturnType<typeof partsOf>,
  { set, classifier, seed }: Place,
  { mlpSettings }: BaselineSpec,
): SearchTask {
  const { classes } = study.roles;
  const rows = (of: readonly Utterance[]) => of.map(({ id }) => table.rows.get(id)![set]);
  const labels = (of: readonly Utterance[]) =>
    of.map(({ speaker }) => classes.indexOf(study.grades.get(speaker!)!));
  const { train, valid, test } = parts;
  return {
    classifier,
    train: { rows: rows(train), labels: labels(train) },
    valid: { rows: rows(valid), labels: labels(valid) },
    test: rows(test),
    classes: classes.length,
    seed,
    mlpSettings,
  };
}

function answersOf(study: Study, test: readonly Utterance[], search: SearchResult): Graded[] {
  const { classes } = study.roles;
  return test.map(({ id, speaker }, i) => ({
    id,
    speaker: speaker!,
    truth: study.grades.get(speaker!)!,
    predicted: classes[search.predicted[i]],
    ...(search.probabilities !== undefined && {
      probabilities: Object.fromEntries(classes.map((name, k) => [name, search.probabilities![i][k]])),
    }),
  }));
}
