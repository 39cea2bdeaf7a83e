import { join } from "node:path";
import { type ProbeOptions, type ProbeReport, probe } from "../../superb/probe.ts";
import type { Adaptation, ProbeTask } from "../../superb/task.ts";

export interface AdaptOptions extends Omit<ProbeOptions, "adaptation" | "out" | "cache" | "cacheGb"> {
  readonly adaptation: Omit<Adaptation, "sparsity">;
  /** Of masks: one or several; the best on the validation part is chosen for each task. */
  readonly sparsities: readonly number[];
  readonly out: string;
}

/** One point of a task's curve. */
export interface Point {
  /** 0 where weights train. */
  readonly sparsity: number;
  /** The best validation metric, absent where the task has no validation part. */
  readonly valid?: number;
  readonly metrics: ProbeReport["results"][number]["metrics"];
}

export interface AdaptedTask {
  readonly task: string;
  readonly curve: readonly Point[];
  /** The point that validation chose; absent where several cannot be told apart for want of a validation metric. */
  readonly chosen?: Point;
}

export interface AdaptReport {
  readonly model: ProbeReport["model"];
  readonly train: Adaptation["train"];
  readonly tasks: readonly AdaptedTask[];
  /** Runs that were not finished. */
  readonly left: readonly string[];
}

/**
 * Adapts a model to tasks, each with a copy of its own (S3-Router, Table 5): its weights, or masks at each sparsity, from which validation
 * chooses. A folder for each sparsity below `out`; the same call goes on with what was interrupted.
 */
export async function adaptToTasks(
  model: string,
  tasks: readonly ProbeTask[],
  { adaptation, sparsities, out, ...options }: AdaptOptions,
): Promise<AdaptReport> {
  const points = adaptation.train === "weights" ? [0] : [...new Set(sparsities)];
  const reports: { sparsity: number; report: ProbeReport }[] = [];
  const left: string[] = [];
  for (const sparsity of points) {
    const masks = adaptation.train === "masks";
    const name = masks ? `masks-${sparsity}` : "weights";
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
  const adapted = tasks.flatMap((task): AdaptedTask[] => {
    const curve = reports.flatMap(({ sparsity, report }) =>
      report.results
        .filter((result) => result.task === task.name)
        .map(({ best, metrics }): Point => ({ sparsity, ...(best && { valid: best.value }), metrics })),
    );
    if (curve.length === 0) return [];
    const chosen = best(curve, task.recipe.best?.higher);
    return [{ task: task.name, curve, ...(chosen && { chosen }) }];
  });
  return { model: reports[0].report.model, train: adaptation.train, tasks: adapted, left };
}

/** The point with the best validation metric; among equals the sparsest. */
function best(curve: readonly Point[], higher: boolean | undefined): Point | undefined {
  if (curve.length === 1) return curve[0];
  const judged = curve.filter(({ valid }) => valid !== undefined);
  if (judged.length < curve.length || higher === undefined) return undefined;
  const gain = (point: Point) => (higher ? point.valid! : -point.valid!);
  return [...judged].sort((a, b) => gain(b) - gain(a) || b.sparsity - a.sparsity)[0];
}
