import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { RunError, UserError } from "../errors.ts";
import { hash32 } from "../random.ts";
import { writeAtomically } from "../weights/file.ts";
import { duration } from "./progress.ts";
import { parseOverride, type Recipe, readRecipe } from "./recipe.ts";
import { lock } from "./run-folder.ts";

/**
 * Runs a recipe over a grid of settings and seeds, one cell after another, each in a folder of its own. A sweep that
 * was stopped goes on where it was: finished cells are kept.
 */

/** One run of the grid. */
export interface Cell {
  /** Folder name, made of the setting and the seed. */
  name: string;
  /** The varied keys and their values, as the user wrote them. */
  setting: Record<string, string>;
  seed: number;
  recipe: Recipe;
}

export interface CellResult {
  status: "finished" | "failed";
  seconds: number;
  metrics: Record<string, number>;
  error?: string;
}

export interface SweepPlan {
  keys: string[];
  seeds: number;
  cells: Cell[];
}

/** Trains and evaluates one cell in its folder. A `RunError` or `UserError` counts as a failed run; others end the sweep. */
export type RunCell = (
  recipe: Recipe,
  folder: string,
  signal: AbortSignal,
) => Promise<Record<string, number>>;

/**
 * The cells of `key=a,b,c` axes times `seeds` seeds (the recipe's own and the following ones). All recipes are
 * read, so that a value that no recipe may have is refused before anything runs. Seeds are the outer
 * loop: a sweep that runs out of budget has every setting once before any twice.
 */
export function planSweep(
  recipePath: string,
  axes: readonly string[],
  seeds: number,
  overrides: readonly string[] = [],
): SweepPlan {
  const parsed = axes.map(parseAxis);
  const keys = parsed.map((axis) => axis.key);
  const twice = keys.find((key, i) => keys.indexOf(key) !== i);
  if (twice) throw new UserError(`${twice}: is varied twice; write all its values after one \`${twice}=\``);
  if (keys.includes("seed")) throw new UserError("seed: is varied by --seeds N, not as a key");
  const settings = parsed.reduce<Record<string, string>[]>(
    (all, { key, values }) => all.flatMap((setting) => values.map((value) => ({ ...setting, [key]: value }))),
    [{}],
  );
  const cells: Cell[] = [];
  for (let i = 0; i < seeds; i++)
    for (const setting of settings) {
      const set = Object.entries(setting).map(([key, value]) => `${key}=${value}`);
      const base = readRecipe(recipePath, [...overrides, ...set]);
      const recipe = { ...base, seed: base.seed + i };
      cells.push({ name: cellName(setting, recipe.seed), setting, seed: recipe.seed, recipe });
    }
  return { keys, seeds, cells };
}

/** Splits `key=a,b,c`; commas inside brackets do not separate: `optimizer.betas=[0.9,0.98],[0.9,0.999]`. */
export function parseAxis(text: string): { key: string; values: string[] } {
  const equals = text.indexOf("=");
  const values: string[] = [""];
  let depth = 0;
  for (const character of text.slice(equals + 1)) {
    if ("[{".includes(character)) depth++;
    if ("]}".includes(character)) depth--;
    if (character === "," && depth === 0) values.push("");
    else values[values.length - 1] += character;
  }
  const trimmed = values.map((value) => value.trim());
  if (equals < 1 || trimmed.includes(""))
    throw new UserError(`${JSON.stringify(text)}: must have the form key=value,value,...`);
  for (const value of trimmed) parseOverride(`${text.slice(0, equals)}=${value}`);
  return { key: text.slice(0, equals), values: [...new Set(trimmed)] };
}

function cellName(setting: Record<string, string>, seed: number): string {
  const words = Object.entries(setting).map(([key, value]) => `${key.split(".").at(-1)}=${value}`);
  const name = [...words, `seed=${seed}`].join("_").replace(/[^\w=.-]+/g, "-");
  // Values that differ only in characters that file names cannot have, and long ones, need more than their name.
  const clean = words.every((word) => /^[\w=.-]+$/.test(word)) && name.length <= 80;
  return clean ? name : `${name.slice(0, 70)}_${hash32(JSON.stringify(setting)).toString(16)}`;
}

export interface SweepOptions {
  folder: string;
  runCell: RunCell;
  /** Predicts the seconds of a cell before any has run. */
  estimateCell?: (recipe: Recipe) => number | undefined;
  /** Seconds that this call may take; no cell starts that is expected to end later. */
  budget?: number;
  /** Runs cells again that failed in an earlier call. */
  retryFailed?: boolean;
  /** Cells at the same time (default 1); `runCell` must then not block this process. */
  jobs?: number;
  /** Identifies what the results depend on besides the recipes (the data folder): results of another are refused. */
  data?: string;
  signal?: AbortSignal;
  log: (line: string) => void;
  now?: () => number;
}

export interface SweepOutcome {
  results: Map<Cell, CellResult>;
  /** Cells without a result: the budget or Ctrl-C came first. */
  left: Cell[];
}

/** Prints the plan with its estimate, runs what has no result yet, and returns all results. */
export async function runSweep(plan: SweepPlan, options: SweepOptions): Promise<SweepOutcome> {
  const {
    folder,
    log,
    signal = new AbortController().signal,
    now = () => performance.now() / 1000,
  } = options;
  mkdirSync(folder, { recursive: true });
  const release = lock(join(folder, "lock"), folder);
  try {
    const results = new Map<Cell, CellResult>();
    for (const cell of plan.cells) {
      const result = readResult(folder, cell, options.data);
      if (result && !(options.retryFailed && result.status === "failed")) results.set(cell, result);
    }
    const todo = plan.cells.filter((cell) => !results.has(cell));
    const began = now();
    const estimate = (cell: Cell) => mean(measured(results)) ?? options.estimateCell?.(cell.recipe);
    describe(plan, results, todo, estimate, options);

    let next = 0;
    const worker = async () => {
      while (next < todo.length && !signal.aborted) {
        const i = next;
        const cell = todo[i];
        const expected = estimate(cell) ?? 0;
        const left = (options.budget ?? Number.POSITIVE_INFINITY) - (now() - began);
        if (expected > left || left <= 0) {
          if (next < todo.length)
            log(
              `budget: ${duration(Math.max(0, left))} left, and a cell takes about ${duration(expected)}; stopping here`,
            );
          next = todo.length;
          return;
        }
        next++;
        log(`cell ${i + 1}/${todo.length}: ${cell.name}`);
        const result = await runOne(cell, folder, options, now);
        if (signal.aborted && result.status === "failed") return;
        writeJson(resultPath(folder, cell), { recipe: fingerprint(cell.recipe, options.data), ...result });
        results.set(cell, result);
        log(
          `  ${cell.name}: ${result.status} in ${duration(result.seconds)}${result.error ? `: ${result.error}` : ""}`,
        );
      }
    };
    await Promise.all(Array.from({ length: options.jobs ?? 1 }, worker));
    return { results, left: plan.cells.filter((cell) => !results.has(cell)) };
  } finally {
    release();
  }
}

async function runOne(
  cell: Cell,
  folder: string,
  options: SweepOptions,
  now: () => number,
): Promise<CellResult> {
  const began = now();
  const signal = options.signal ?? new AbortController().signal;
  try {
    const metrics = await options.runCell(cell.recipe, join(folder, cell.name), signal);
    return { status: "finished", seconds: now() - began, metrics };
  } catch (error) {
    if (!(error instanceof RunError || error instanceof UserError)) throw error;
    return { status: "failed", seconds: now() - began, metrics: {}, error: error.message };
  }
}

function describe(
  plan: SweepPlan,
  results: Map<Cell, CellResult>,
  todo: Cell[],
  estimate: (cell: Cell) => number | undefined,
  { log, budget, folder, jobs = 1 }: SweepOptions,
): void {
  const settings = plan.cells.length / plan.seeds;
  log(
    `${plan.cells.length} cells: ${settings} settings of ${plan.keys.join(", ") || "nothing"} x ${plan.seeds} seeds, in ${folder}`,
  );
  const failed = [...results.values()].filter((result) => result.status === "failed").length;
  if (results.size > 0)
    log(
      `${results.size} of them have results${failed > 0 ? `, ${failed} failed (--retry-failed runs those again)` : ""}`,
    );
  const seconds = todo.map(estimate);
  const known = seconds.filter((each) => each !== undefined);
  const total = known.reduce((a, b) => a + b, 0) / jobs;
  const estimated =
    known.length === todo.length ? `about ${duration(total)}` : "unknown until the first cell has run";
  log(
    `${todo.length} to run; estimated time ${estimated}${budget === undefined ? "" : `; budget ${duration(budget)}`}`,
  );
}

const measured = (results: Map<Cell, CellResult>) =>
  [...results.values()].filter((result) => result.status === "finished").map((result) => result.seconds);
const mean = (values: number[]) =>
  values.length === 0 ? undefined : values.reduce((a, b) => a + b, 0) / values.length;

const resultPath = (folder: string, cell: Cell) => join(folder, `${cell.name}.json`);
const fingerprint = (recipe: Recipe, data = "") => hash32(JSON.stringify(recipe), data).toString(16);

/** A cell's stored result; one of another recipe or other data would be mistaken for this one's. */
function readResult(folder: string, cell: Cell, data?: string): CellResult | undefined {
  const path = resultPath(folder, cell);
  if (!existsSync(path)) return undefined;
  const { recipe, ...result }: CellResult & { recipe: string } = JSON.parse(readFileSync(path, "utf8"));
  if (recipe !== fingerprint(cell.recipe, data))
    throw new UserError(
      `${path}: is the result of another recipe or other data; choose another --out, or remove it`,
    );
  return result;
}

function writeJson(path: string, value: unknown): void {
  writeAtomically(path, (put) => put(Buffer.from(`${JSON.stringify(value, null, 2)}\n`)));
}
