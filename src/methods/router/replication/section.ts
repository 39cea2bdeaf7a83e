import { spread } from "../../../metrics/spread.ts";
import { markdownTable } from "../../../report/markdown.ts";
import type { CellResult } from "../../../train/sweep.ts";
import type { MaskAnalysis } from "../analyse.ts";
import { metricOf, type RouterCell } from "./cells.ts";
import { WEIGHTS } from "./plan.ts";

export type Results = ReadonlyMap<RouterCell, CellResult>;

export interface Row {
  readonly method: string;
  readonly language: string;
  readonly utterances?: number;
  readonly seed: number;
  readonly valid: number;
  readonly test: number;
}

/** Finished runs of phoneme recognition with their phoneme error rates. */
export const phoneRows = (results: Results): Row[] =>
  [...results].flatMap(([cell, result]) => {
    const [valid, test] = ["valid.phones.per", "test.phones.per"].map((name) => metricOf(result, name));
    return valid === undefined || test === undefined
      ? []
      : [
          {
            method: cell.method,
            language: cell.language,
            utterances: cell.utterances,
            seed: cell.seed,
            valid,
            test,
          },
        ];
  });

/** Which runs ended with hardly a phone right: a mean over seeds hides how many they are. */
export function lostRuns(rows: readonly Row[]): string {
  const lost = rows.filter(({ test }) => test >= 0.95);
  const minutes = ({ utterances }: Row) => (utterances === undefined ? "" : `, ${utterances / 30} min`);
  const named = lost.map((row) => `${row.method} (${row.language}${minutes(row)}, seed ${row.seed})`);
  return `Runs that learned nothing (a phone error rate of 95 % or more), of ${rows.length}: ${named.length === 0 ? "none" : [...new Set(named)].join("; ")}. All methods have the recipe's one learning rate.`;
}

export interface Claim {
  readonly claim: string;
  readonly holds: boolean | undefined;
  readonly found: string;
}

const percent = (x: number) => (100 * x).toFixed(1);
const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const isMask = (method: string) => method.startsWith("mask ");

/** The mask that validation prefers among some runs. */
export function bestMask(rows: readonly Row[], init = ""): Row | undefined {
  const masks = rows.filter(({ method }) => method.startsWith(`mask ${init}`));
  return masks.sort((a, b) => a.valid - b.valid)[0];
}

/** One row of each language and amount of labels. */
export const conditions = (rows: readonly Row[]) => [
  ...new Map(rows.map((row) => [`${row.language} ${row.utterances}`, row])).values(),
];
export const sameAs = (row: Row) => (other: Row) =>
  other.language === row.language && other.utterances === row.utterances;

/** All runs, by what they are for. */
export interface Findings {
  readonly grid: readonly Row[];
  readonly chosen: readonly Row[];
  readonly pruning: readonly Row[];
  readonly ablations: readonly Row[];
  readonly tasks: readonly TaskRow[];
  readonly analysis: MaskAnalysis | undefined;
}

/** What the paper claims, and what was found here. */
export function claimsOf({ grid, chosen, pruning, ablations, tasks, analysis }: Findings): Claim[] {
  const claims: Claim[] = [];
  const compare = (rows: readonly Row[], ours: (r: Row) => boolean, theirs: (r: Row) => boolean) =>
    conditions(rows).flatMap((c) => {
      const of = (fits: (r: Row) => boolean) =>
        rows.filter((r) => sameAs(c)(r) && fits(r)).map(({ test }) => test);
      const [a, b] = [of(ours), of(theirs)];
      return a.length === 0 || b.length === 0
        ? []
        : [{ c, ours: mean(a), theirs: mean(b), runs: Math.min(a.length, b.length) }];
    });
  const counted = (claim: string, pairs: ReturnType<typeof compare>) => {
    const wins = pairs.filter(({ ours, theirs }) => ours < theirs).length;
    claims.push({
      claim,
      holds: pairs.length === 0 ? undefined : wins === pairs.length,
      found:
        pairs.length === 0
          ? "not run"
          : `in ${wins} of ${pairs.length} conditions: ${pairs.map(({ c, ours, theirs, runs }) => `${c.language} ${(c.utterances ?? 0) / 30} min ${percent(ours)} against ${percent(theirs)} (${runs} seeds)`).join("; ")}`,
    });
  };
  counted(
    "masks at the sparsity that validation chose have a lower error than weight fine-tuning",
    compare(
      chosen,
      ({ method }) => isMask(method),
      ({ method }) => method === WEIGHTS,
    ),
  );
  counted(
    "masks have a lower error than adapters (Table 6)",
    compare(
      chosen,
      ({ method }) => isMask(method),
      ({ method }) => method === "adapters",
    ),
  );
  counted(
    "masks have a lower error than LoRA (not in the paper)",
    compare(
      chosen,
      ({ method }) => isMask(method),
      ({ method }) => method === "lora",
    ),
  );
  const inits = ["order-preserving", "random", "magnitude "];
  const byInit = conditions(grid).map((c) =>
    inits.map((init) => bestMask(grid.filter(sameAs(c)), init)?.test),
  );
  const ordered = byInit.filter((row) => row.every((x) => x !== undefined)) as number[][];
  claims.push({
    claim: "order-preserving starts beat random ones, and these beat magnitudes (Table 1)",
    holds: ordered.length === 0 ? undefined : ordered.every(([a, b, c]) => a < b && b < c),
    found: ordered.length === 0 ? "not run" : ordered.map((row) => row.map(percent).join(" / ")).join("; "),
  });
  const optimum = conditions(grid).flatMap((c) => {
    const best = bestMask(grid.filter(sameAs(c)), "order-preserving");
    return best === undefined
      ? []
      : [
          {
            language: c.language,
            minutes: (c.utterances ?? 0) / 30,
            sparsity: Number(best.method.split(" ").at(-1)),
          },
        ];
  });
  const rising = optimum.every((a) =>
    optimum.every((b) => a.language !== b.language || a.minutes >= b.minutes || a.sparsity <= b.sparsity),
  );
  claims.push({
    claim: "more labels go with a higher best sparsity (Table 9)",
    holds: optimum.length < 2 ? undefined : rising,
    found:
      optimum
        .map(({ language, minutes, sparsity }) => `${language} ${minutes} min: ${sparsity}`)
        .join("; ") || "not run",
  });
  const at = (rows: readonly Row[], method: string) => rows.find((row) => row.method === method)?.test;
  const high = [...new Set(pruning.map(({ method }) => method.split(" ").at(-1)!))].sort();
  const pairs = high.flatMap((s) => {
    const [ours, parp] = [at(pruning, `S3-Router-P ${s}`), at(pruning, `PARP ${s}`)];
    return ours === undefined || parp === undefined ? [] : [{ s, ours, parp }];
  });
  claims.push({
    claim: "S3-Router-P has a lower error than PARP at every sparsity (Fig. 4)",
    holds: pairs.length === 0 ? undefined : pairs.every(({ ours, parp }) => ours < parp),
    found:
      pairs.map(({ s, ours, parp }) => `${s}: ${percent(ours)} against ${percent(parp)}`).join("; ") ||
      "not run",
  });
  const modules = ["ffn", "attention", "both"].map((name) => {
    const of = ablations.filter(({ method }) => method.startsWith(`${name} `));
    return of.length === 0 ? undefined : [...of].sort((a, b) => a.valid - b.valid)[0].test;
  });
  claims.push({
    claim: "masks of the feed-forward blocks alone do best (Table 7)",
    holds: modules.some((x) => x === undefined)
      ? undefined
      : modules[0]! < modules[1]! && modules[0]! < modules[2]!,
    found: modules.some((x) => x === undefined)
      ? "not run"
      : `ffn ${percent(modules[0]!)}, attention ${percent(modules[1]!)}, both ${percent(modules[2]!)}`,
  });
  const layers = ablations.filter(({ method }) => /^layers? /.test(method));
  const [firstLayers, lastLayers] = [layers.slice(0, layers.length / 2), layers.slice(layers.length / 2)];
  claims.push({
    claim: "masks of late layers do better than masks of early ones (Table 8)",
    holds:
      layers.length < 2
        ? undefined
        : Math.max(...lastLayers.map(({ test }) => test)) < Math.min(...firstLayers.map(({ test }) => test)),
    found: layers.map(({ method, test }) => `${method}: ${percent(test)}`).join("; ") || "not run",
  });
  const others = [...new Set(tasks.map(({ task }) => task))].flatMap((task) => {
    const weights = tasks.find((row) => row.task === task && row.method === WEIGHTS);
    const mask = chosenMask(tasks, task);
    return weights === undefined || mask === undefined ? [] : [{ task, weights, mask }];
  });
  claims.push({
    claim:
      "on other tasks, masks at the sparsity that validation chose are righter than weight fine-tuning (Table 5)",
    holds: others.length === 0 ? undefined : others.every(({ weights, mask }) => mask.test > weights.test),
    found:
      others
        .map(
          ({ task, weights, mask }) =>
            `${task}: accuracy ${percent(mask.test)} (${mask.method}) against ${percent(weights.test)}`,
        )
        .join("; ") || "not run",
  });
  const first = analysis?.inventories?.associations.find(({ measure }) => measure === "cosine");
  claims.push({
    claim:
      "masks of the first layer are the more alike the more alike two languages' phoneme inventories are (Fig. 6: Pearson 0.527, Spearman 0.548)",
    holds: first && first.pearson.value > 0 && first.pearson.p < 0.05,
    found:
      first === undefined
        ? "not run"
        : `Pearson ${first.pearson.value.toFixed(3)} (p ${first.pearson.p.toFixed(4)} by permuting languages), Spearman ${first.spearman.value.toFixed(3)} (p ${first.spearman.p.toFixed(4)}), ${first.pearson.pairs} pairs`,
  });
  return claims;
}

/** Test error of each method (rows) in each condition (columns); several seeds as mean and spread. */
export function errorTable(rows: readonly Row[]): string {
  const columns = conditions(rows);
  const methods = [...new Set(rows.map(({ method }) => method))];
  const title = ({ language, utterances }: Row) =>
    utterances === undefined ? language : `${language}, ${utterances / 30} min`;
  const cell = (method: string, column: Row) => {
    const values = rows.filter((row) => row.method === method && sameAs(column)(row)).map(({ test }) => test);
    if (values.length === 0) return "-";
    const { mean: middle, sd } = spread(values);
    return sd === null ? percent(middle) : `${percent(middle)} ± ${percent(sd)}`;
  };
  return markdownTable(
    ["method", ...columns.map(title)],
    methods.map((method) => [method, ...columns.map((column) => cell(method, column))]),
  );
}

/** A finished run of another task: accuracies. */
export interface TaskRow {
  readonly task: string;
  readonly method: string;
  readonly valid: number;
  readonly test: number;
}

export const taskRows = (tasks: Results): TaskRow[] =>
  [...tasks].flatMap(([{ method, language }, result]) => {
    const [valid, test] = ["valid.task.accuracy", "test.task.accuracy"].map((name) => metricOf(result, name));
    return valid === undefined || test === undefined ? [] : [{ task: language, method, valid, test }];
  });

/** The mask of a task that validation prefers (Table 5's optimal sparsity). */
function chosenMask(rows: readonly TaskRow[], task: string): TaskRow | undefined {
  const masks = rows.filter((row) => row.task === task && isMask(row.method));
  return masks.length === 0
    ? undefined
    : masks.reduce((best, mask) => (mask.valid > best.valid ? mask : best));
}

/** Accuracies of other tasks by method; where there are several masks the one that validation chooses is named. */
export const taskTable = (rows: readonly TaskRow[]): string =>
  markdownTable(
    ["task", "method", "validation", "test"],
    rows.map((row) => {
      const several = rows.filter(({ task, method }) => task === row.task && isMask(method)).length > 1;
      const chosen = several && row === chosenMask(rows, row.task);
      return [
        row.task,
        chosen ? `${row.method} (chosen)` : row.method,
        percent(row.valid),
        percent(row.test),
      ];
    }),
  );

export const claimTable = (claims: readonly Claim[]): string =>
  markdownTable(
    ["the paper's claim", "here", "found (phoneme error rate in %)"],
    claims.map(({ claim, holds, found }) => [
      claim,
      holds === undefined ? "not run" : holds ? "holds" : "does not hold",
      found,
    ]),
  );
