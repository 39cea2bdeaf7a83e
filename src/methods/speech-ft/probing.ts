import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { RunError } from "../../errors.ts";
import { type Spread, spread } from "../../metrics/spread.ts";
import { superbScore } from "../../metrics/superb-score.ts";
import { hash32 } from "../../random.ts";
import { meanColumns, type ProbeResult, type ProbeTask, probe } from "../../superb/index.ts";
import { writeAtomically } from "../../weights/file.ts";

export interface ProbingOptions {
  /** Where results stand; what is there is not done again. */
  readonly folder: string;
  /** Seeds of the heads. */
  readonly seeds: readonly number[];
  readonly threads?: number;
  readonly steps?: number;
  readonly cacheGb?: number;
  readonly allowOverlap?: boolean;
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
}

/** All results of one model: each task once for each seed. */
export type Probed = readonly ProbeResult[];

/**
 * Probes a model with several seeds; its hidden states are computed once for all of them and not kept.
 * @param key says which model it is: results of another are not taken for its
 * @throws RunError where it was interrupted
 */
export async function probeModel(
  model: string,
  key: string,
  tasks: readonly ProbeTask[],
  options: ProbingOptions,
): Promise<Probed> {
  const { folder, seeds, signal, log, threads, steps, cacheGb, allowOverlap } = options;
  const wanted = fingerprint(key, tasks, options);
  const file = join(folder, "results.json");
  const known = readResults(file, wanted);
  if (known !== undefined) return known;
  mkdirSync(folder, { recursive: true });
  const cache = join(folder, "cache");
  const results: ProbeResult[] = [];
  for (const seed of seeds) {
    const report = await probe(model, tasks, {
      ...{ cache, cacheGb, seed, threads, steps, allowOverlap, signal, log },
      out: join(folder, `seed-${seed}-${wanted}`),
    });
    if (report.left.length > 0)
      throw new RunError(`${model}: stopped before ${report.left.join(", ")}; the same command goes on`);
    results.push(...report.results);
  }
  rmSync(cache, { recursive: true, force: true });
  const text = `${JSON.stringify({ fingerprint: wanted, model: key, results }, null, 1)}\n`;
  writeAtomically(file, (put) => put(Buffer.from(text)));
  return results;
}

/** What the results of a model depend on, as one word. */
export function fingerprint(
  key: string,
  tasks: readonly ProbeTask[],
  { seeds, steps }: Pick<ProbingOptions, "seeds" | "steps">,
): string {
  const recipes = tasks.map(({ name, recipe, parts }) => [
    name,
    recipe,
    parts.train.length,
    parts.test.length,
  ]);
  return hash32(JSON.stringify([key, recipes, seeds, steps ?? null])).toString(16);
}

/** Results that an earlier call left, where they are of the same model and tasks. */
export function readResults(file: string, wanted: string): Probed | undefined {
  if (!existsSync(file)) return undefined;
  const { fingerprint: found, results } = JSON.parse(readFileSync(file, "utf8"));
  return found === wanted ? results : undefined;
}

/** A task's main metric so that more is better: an error rate becomes 1 - rate. */
export const goodness = ({ headline: { value, higher } }: ProbeResult): number =>
  higher ? value : 1 - value;

export interface Summary {
  /** By task: mean and standard deviation of its main metric over the seeds; null for one seed. */
  readonly tasks: Readonly<Record<string, TaskSummary>>;
  /** 100 times the mean over tasks of what is right: accuracy, or 1 - error rate; over the seeds. */
  readonly mean: Spread;
  /** SUPERB's score where the tasks are its own. */
  readonly superb?: number;
}
export interface TaskSummary extends Spread {
  readonly metric: string;
  readonly higher: boolean;
  /** Mean over the seeds of the learned share of each hidden state. */
  readonly layerWeights: readonly number[];
}

/** What a model's results say together. */
export function summary(results: Probed): Summary {
  const names = [...new Set(results.map(({ task }) => task))];
  const seeds = [...new Set(results.map(({ seed }) => seed))];
  const tasks = Object.fromEntries(
    names.map((name): [string, TaskSummary] => {
      const own = results.filter(({ task }) => task === name);
      const { metric, higher } = own[0].headline;
      const layerWeights = own[0].layerWeights.map(
        (_, layer) => own.reduce((sum, each) => sum + each.layerWeights[layer], 0) / own.length,
      );
      return [name, { metric, higher, layerWeights, ...spread(own.map(({ headline }) => headline.value)) }];
    }),
  );
  const bySeed = seeds.map((seed) => {
    const own = results.filter((each) => each.seed === seed);
    return (100 * own.reduce((sum, each) => sum + goodness(each), 0)) / own.length;
  });
  const columns = meanColumns(results);
  const superb = Object.keys(columns).length > 0 ? superbScore(columns).score : undefined;
  return { tasks, mean: spread(bySeed), ...(superb !== undefined && { superb }) };
}
