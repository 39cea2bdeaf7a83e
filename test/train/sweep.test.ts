import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { sweepCommand } from "../../src/cli/sweep.ts";
import { RunError } from "../../src/errors.ts";
import type { Recipe } from "../../src/train/recipe.ts";
import { parseAxis, planSweep, type RunCell, runSweep } from "../../src/train/sweep.ts";
import { csvTable, markdownTable, sweepTable } from "../../src/train/sweep-table.ts";

const temporary = () => mkdtempSync(join(tmpdir(), "sweep-"));
function recipeFile(): string {
  const path = join(temporary(), "r.yaml");
  writeFileSync(
    path,
    "{name: r, seed: 5, upstream: {model: m}, corpus: {manifest: m}, objectives: {p: {loss: ctc, target: phones}}}",
  );
  return path;
}

/** Runs no model: takes 100 s of a clock of its own, and its accuracy is a function of setting and seed. */
function fakeCells(options: { fail?: (recipe: Recipe) => boolean; seconds?: number } = {}) {
  let clock = 0;
  const ran: string[] = [];
  const runCell: RunCell = async (recipe, folder) => {
    ran.push(`${recipe.optimizer.lr}/${recipe.batch.size}/${recipe.seed}`);
    expect(existsSync(folder)).toBe(false);
    clock += options.seconds ?? 100;
    if (options.fail?.(recipe)) throw new RunError("loss became NaN at step 3");
    return { accuracy: recipe.optimizer.lr * 100 + recipe.seed / 10 };
  };
  return { runCell, ran, now: () => clock };
}

describe("sweep", () => {
  it("plans a grid with seeds outermost and checks every recipe", () => {
    const plan = planSweep(recipeFile(), ["optimizer.lr=0.1,0.2", "batch.size=4,8"], 2, ["epochs=3"]);
    expect(plan.cells.map((c) => [c.recipe.optimizer.lr, c.recipe.batch.size, c.seed])).toEqual([
      [0.1, 4, 5],
      [0.1, 8, 5],
      [0.2, 4, 5],
      [0.2, 8, 5],
      [0.1, 4, 6],
      [0.1, 8, 6],
      [0.2, 4, 6],
      [0.2, 8, 6],
    ]);
    expect(plan.cells[0].name).toBe("lr=0.1_size=4_seed=5");
    expect(plan.cells[7].recipe).toMatchObject({ seed: 6, epochs: 3 });
    expect(() => planSweep(recipeFile(), ["optimizer.lr=0.1,fast"], 1)).toThrow(
      /lr=fast: optimizer.lr: must be a number/,
    );
    expect(() => planSweep(recipeFile(), ["seed=1,2"], 1)).toThrow(/--seeds/);
    expect(() => planSweep(recipeFile(), ["epochs=1", "epochs=2"], 1)).toThrow(/epochs: is varied twice/);
  });

  it("splits values at commas outside of brackets, and gives each cell a name of its own", () => {
    expect(parseAxis("optimizer.betas=[0.9,0.98],[0.9,0.999]").values).toEqual(["[0.9,0.98]", "[0.9,0.999]"]);
    expect(parseAxis("a= 1, 2 ,1").values).toEqual(["1", "2"]);
    for (const bad of ["a", "=1", "a=1,,2", "a=[1", "a="]) expect(() => parseAxis(bad)).toThrow(/a|=1/);
    const plan = planSweep(recipeFile(), ["corpus.split={by: folds, fold: 0},{by: folds, fold: 1}"], 1);
    expect(new Set(plan.cells.map((cell) => cell.name)).size).toBe(2);
    for (const cell of plan.cells) expect(cell.name).toMatch(/^[\w=.-]+$/);
  });

  it("prints plan and estimate first, keeps to its budget and goes on later", async () => {
    const folder = temporary();
    const plan = planSweep(recipeFile(), ["optimizer.lr=0.1,0.2"], 2);
    const lines: string[] = [];
    const log = (line: string) => lines.push(line);
    const first = fakeCells();
    const outcome = await runSweep(plan, { folder, ...first, log, budget: 250, estimateCell: () => 90 });
    expect(lines[0]).toMatch(/^4 cells: 2 settings of optimizer\.lr x 2 seeds, in /);
    expect(lines[1]).toBe("4 to run; estimated time about 6 min 00 s; budget 4 min 10 s");
    expect(first.ran).toEqual(["0.1/8/5", "0.2/8/5"]);
    expect(lines.at(-1)).toBe("budget: 50 s left, and a cell takes about 1 min 40 s; stopping here");
    expect(outcome.left.map((cell) => cell.seed)).toEqual([6, 6]);

    lines.length = 0;
    const second = fakeCells();
    const rest = await runSweep(plan, { folder, ...second, log });
    expect(lines[1]).toBe("2 of them have results");
    expect(lines[2]).toBe("2 to run; estimated time about 3 min 20 s");
    expect(second.ran).toEqual(["0.1/8/6", "0.2/8/6"]);
    expect(rest.left).toEqual([]);
    expect(sweepTable(plan, rest).map((row) => row.metrics.accuracy.mean)).toEqual([10.55, 20.55]);
    expect(readdirSync(folder)).not.toContain("lock");
  });

  it("records failed runs, and repeats them only when asked", async () => {
    const folder = temporary();
    const plan = planSweep(recipeFile(), ["optimizer.lr=0.1,0.2"], 3);
    const log = () => {};
    const fail = (recipe: Recipe) => recipe.optimizer.lr === 0.2 && recipe.seed > 5;
    const outcome = await runSweep(plan, { folder, ...fakeCells({ fail }), log });
    const rows = sweepTable(plan, outcome);
    expect(rows.map(({ finished, failed }) => [finished, failed])).toEqual([
      [3, 0],
      [1, 2],
    ]);
    expect(rows[0].metrics.accuracy.sd).toBeCloseTo(0.1, 12);
    expect(rows[1].metrics.accuracy).toEqual({ mean: 20.5, sd: null, min: 20.5, max: 20.5 });
    expect(rows[1].errors).toEqual([
      "seed 6: loss became NaN at step 3",
      "seed 7: loss became NaN at step 3",
    ]);
    expect(markdownTable(rows)).toBe(`| optimizer.lr | runs | failed | accuracy   |
|--------------|------|--------|------------|
| 0.1          | 3    | 0      | 10.6 ± 0.1 |
| 0.2          | 1    | 2      | 20.5       |

Failed runs:

- optimizer.lr=0.2 seed 6: loss became NaN at step 3
- optimizer.lr=0.2 seed 7: loss became NaN at step 3
`);
    expect(csvTable(rows).split("\n")[0]).toBe(
      "optimizer.lr,finished,failed,left,accuracy.mean,accuracy.sd,accuracy.min,accuracy.max",
    );
    expect(csvTable(rows).split("\n")[2]).toBe("0.2,1,2,0,20.5,,20.5,20.5");

    const idle = fakeCells();
    await runSweep(plan, { folder, ...idle, log });
    expect(idle.ran).toEqual([]);
    const again = fakeCells();
    const retried = await runSweep(plan, { folder, ...again, log, retryFailed: true });
    expect(again.ran).toEqual(["0.2/8/6", "0.2/8/7"]);
    expect(sweepTable(plan, retried)[1]).toMatchObject({ finished: 3, failed: 0, errors: [] });
  });

  it("refuses results of another recipe or other data", async () => {
    const folder = temporary();
    const path = recipeFile();
    const options = { folder, log: () => {} };
    await runSweep(planSweep(path, ["optimizer.lr=0.1"], 1), { ...options, ...fakeCells(), data: "a" });
    const other = runSweep(planSweep(path, ["optimizer.lr=0.1"], 1, ["epochs=2"]), {
      ...options,
      ...fakeCells(),
    });
    await expect(other).rejects.toThrow(/is the result of another recipe or other data/);
    const elsewhere = runSweep(planSweep(path, ["optimizer.lr=0.1"], 1), {
      ...options,
      ...fakeCells(),
      data: "b",
    });
    await expect(elsewhere).rejects.toThrow(/other data/);
  });

  it("stops at Ctrl-C without calling the interrupted cell failed, and at errors that are none of ours", async () => {
    const folder = temporary();
    const plan = planSweep(recipeFile(), ["optimizer.lr=0.1,0.2"], 1);
    const controller = new AbortController();
    const interrupted: RunCell = async () => {
      controller.abort();
      throw new RunError("interrupted");
    };
    const options = { folder, log: () => {} };
    const outcome = await runSweep(plan, { ...options, runCell: interrupted, signal: controller.signal });
    expect(outcome.left).toHaveLength(2);
    const buggy = async () => {
      throw new TypeError("bug");
    };
    await expect(runSweep(plan, { ...options, runCell: buggy })).rejects.toThrow("bug");
    expect(readdirSync(folder)).toEqual([]);
  });

  it("as a command writes its three tables", async () => {
    const folder = temporary();
    const write = vi.spyOn(process.stdout, "write").mockReturnValue(true);
    const notes = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    const run = (...args: string[]) =>
      sweepCommand(() => fakeCells().runCell).parseAsync([recipeFile(), ...args, "--out", folder], {
        from: "user",
      });
    await run("optimizer.lr=0.1,0.2", "--seeds", "2", "--set", "epochs=2", "--json");
    const printed = JSON.parse(String(write.mock.calls[0][0]));
    write.mockRestore();
    notes.mockRestore();
    expect(printed.rows[1]).toMatchObject({ setting: { "optimizer.lr": "0.2" }, finished: 2 });
    expect(JSON.parse(readFileSync(join(folder, "table.json"), "utf8"))).toEqual(printed);
    expect(readFileSync(join(folder, "table.csv"), "utf8")).toMatch(/^0\.2,2,0,0,20\.55,/m);
    expect(readFileSync(join(folder, "table.md"), "utf8")).toContain("20.55 ± 0.07071");
  });
});
