import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type ProbeOptions, type ProbeReport, type ProbeResult, probe } from "../../superb/probe.ts";
import type { Adaptation, ProbeTask } from "../../superb/task.ts";
import { writeAtomically } from "../../weights/file.ts";
import { tableOf, taskPage } from "./superb-page.ts";

export interface AdaptOptions extends Omit<ProbeOptions, "adaptation" | "out" | "cache" | "cacheGb"> {
  readonly adaptation: Omit<Adaptation, "sparsity">;
  /** Of masks: one or several; the best on the validation part is chosen for each task. */
  readonly sparsities: readonly number[];
  readonly out: string;
}

/** One point of a task's curve; of a task with folds the means over them. */
export interface Point {
  /** 0 where weights train. */
  readonly sparsity: number;
  /** The best validation metric, absent where the task has no validation part. */
  readonly valid?: number;
  readonly metrics: Readonly<Record<string, number>>;
}

export interface AdaptedTask {
  readonly task: string;
  /** The metric that stands for the task. */
  readonly metric: string;
  readonly higher: boolean;
  readonly curve: readonly Point[];
  /** The point that validation chose; absent where several cannot be told apart for want of a validation metric. */
  readonly chosen?: Point;
  /** The same with weights that train, where that run stands beside the masks'. */
  readonly weights?: Point;
}

export interface AdaptReport {
  readonly model: ProbeReport["model"];
  readonly train: Adaptation["train"];
  readonly seed: number;
  readonly tasks: readonly AdaptedTask[];
  /** Runs that were not finished. */
  readonly left: readonly string[];
}

const WEIGHTS = "weights";

/**
 * Adapts a model to tasks, each with a copy of its own (S3-Router, Table 5): its weights, or masks at each sparsity, from which validation
 * chooses. A folder for each sparsity below `out`; the same call goes on with what was interrupted. `curves.json`, `table.md` and
 * `report.html` in `out` hold what it comes to.
 */
export async function adaptToTasks(
  model: string,
  tasks: readonly ProbeTask[],
  { adaptation, sparsities, out, ...options }: AdaptOptions,
): Promise<AdaptReport> {
  const masks = adaptation.train === "masks";
  const points = masks ? [...new Set(sparsities)].sort((a, b) => a - b) : [0];
  const reports: { sparsity: number; report: ProbeReport }[] = [];
  const left: string[] = [];
  for (const sparsity of points) {
    const name = masks ? `masks-${sparsity}` : WEIGHTS;
    options.log?.(`${name}: ${tasks.map((task) => task.name).join(", ")}`);
    const report = await probe(model, tasks, {
      ...options,
      out: join(out, name),
      adaptation: masks ? { ...adaptation, sparsity } : { train: "weights", lr: adaptation.lr },
    });
    reports.push({ sparsity, report });
    left.push(...report.left.map((task) => `${name}/${task}`));
    if (options.signal?.aborted) break;
  }
  const adapted = families(tasks).flatMap(([task, folds]): AdaptedTask[] => {
    const curve = reports.flatMap(
      ({ sparsity, report: { results } }) => pointOf(sparsity, folds, results) ?? [],
    );
    if (curve.length === 0) return [];
    const { recipe, headline } = folds[0];
    const chosen = best(curve, recipe.best?.higher);
    const beside = masks ? pointOf(0, folds, besides(out, folds, reports[0].report)) : curve[0];
    return [
      {
        ...{ task, metric: headline.metric, higher: headline.higher, curve },
        ...(chosen && { chosen }),
        ...(beside && { weights: beside }),
      },
    ];
  });
  const { report } = reports[0];
  const result: AdaptReport = {
    ...{ model: report.model, train: adaptation.train, seed: options.seed ?? 0 },
    ...{ tasks: adapted, left },
  };
  await save(out, result);
  return result;
}

/** Tasks by name, the folds of one together. */
function families(tasks: readonly ProbeTask[]): [string, ProbeTask[]][] {
  const all = new Map<string, ProbeTask[]>();
  for (const task of tasks) {
    const name = task.foldOf ?? task.name;
    all.set(name, [...(all.get(name) ?? []), task]);
  }
  return [...all];
}

/** Means over the folds of a task; undefined until all of them are there. */
function pointOf(
  sparsity: number,
  folds: readonly ProbeTask[],
  results: readonly ProbeResult[],
): Point | undefined {
  const own = folds.flatMap(({ name }) => results.find(({ task }) => task === name) ?? []);
  if (own.length < folds.length) return undefined;
  const mean = (of: (result: ProbeResult) => number) =>
    own.reduce((sum, each) => sum + of(each), 0) / own.length;
  const judged = own.every((result) => result.best !== undefined);
  const names = Object.keys(own[0].metrics);
  return {
    sparsity,
    ...(judged && { valid: mean((result) => result.best!.value) }),
    metrics: Object.fromEntries(names.map((name) => [name, mean(({ metrics }) => metrics[name])])),
  };
}

/** Results of weights that trained on the same tasks, from the same model, seed and number of updates. */
function besides(out: string, folds: readonly ProbeTask[], { model, results }: ProbeReport): ProbeResult[] {
  return folds.flatMap(({ name }) => {
    const file = join(out, WEIGHTS, name, "result.json");
    const mine = results.find(({ task }) => task === name);
    if (mine === undefined || !existsSync(file)) return [];
    const found: ProbeResult = JSON.parse(readFileSync(file, "utf8"));
    const settings = ({ seed, steps, data }: ProbeResult) => JSON.stringify([seed, steps, data]);
    return found.model.hash === model.hash && settings(found) === settings(mine) ? [found] : [];
  });
}

/** The point with the best validation metric; among equals the sparsest. */
function best(curve: readonly Point[], higher: boolean | undefined): Point | undefined {
  if (curve.length === 1) return curve[0];
  const judged = curve.filter(({ valid }) => valid !== undefined);
  if (judged.length < curve.length || higher === undefined) return undefined;
  const gain = (point: Point) => (higher ? point.valid! : -point.valid!);
  return [...judged].sort((a, b) => gain(b) - gain(a) || b.sparsity - a.sparsity)[0];
}

async function save(out: string, report: AdaptReport): Promise<void> {
  if (report.tasks.length === 0) return;
  mkdirSync(out, { recursive: true });
  const write = (name: string, text: string) =>
    writeAtomically(join(out, name), (put) => put(Buffer.from(text)));
  write("curves.json", `${JSON.stringify(report, null, 2)}\n`);
  write("table.md", `${tableOf(report)}\n`);
  write("report.html", await taskPage(report));
}
