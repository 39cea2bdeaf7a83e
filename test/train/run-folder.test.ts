import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseRecipe } from "../../src/train/recipe.ts";
import { lock, openRun, readRun } from "../../src/train/run-folder.ts";

const temporary = () => mkdtempSync(join(tmpdir(), "run-"));
const recipe = (...overrides: string[]) =>
  parseRecipe(
    "{name: r, upstream: {model: m}, corpus: {manifest: m}, objectives: {p: {loss: ctc, target: phones}}}",
    "r.yaml",
    overrides,
  );

describe("run folder", () => {
  it("holds the resolved recipe and what ran where", () => {
    const path = join(temporary(), "runs", "one");
    const run = openRun(path, recipe("seed=7"));
    expect(run.resuming).toBe(false);
    expect(parseRecipe(readFileSync(run.file("recipe.yaml"), "utf8"), "again")).toEqual(recipe("seed=7"));
    run.update({ data: { hash: "abc", utterances: { train: 3 } } });
    run.update({ status: "finished", metrics: { "p.per": 0.5 } });
    run.release();
    const info = readRun(path)!;
    expect(info).toMatchObject({ status: "finished", seed: 7, resumed: 0, data: { hash: "abc" } });
    expect(info.versions.node).toBe(process.versions.node);
    expect(info.versions["onnxruntime-node"]).toMatch(/^\d+\.\d+\.\d+$/);
    expect(info.versions.voxsmith).toMatch(/^\d+\.\d+\.\d+$/);
    expect(info.seconds).toBeGreaterThan(0);
    expect(Date.parse(info.ended!)).toBeGreaterThanOrEqual(Date.parse(info.started));
    expect(readdirSync(path).sort()).toEqual(["recipe.yaml", "run.json"]);
  });

  it("resumes an unfinished run of the same recipe and adds up its time", () => {
    const path = temporary();
    const first = openRun(path, recipe());
    first.update({ status: "interrupted", seconds: 0 });
    first.release();
    const seconds = readRun(path)!.seconds;
    const second = openRun(path, recipe());
    expect(second.resuming).toBe(true);
    expect(second.info).toMatchObject({ resumed: 1, status: "running", started: first.info.started });
    expect(second.info.ended).toBeUndefined();
    expect(second.info.seconds).toBeGreaterThan(seconds);
    second.release();
  });

  it("refuses a finished run, another recipe, and a folder that is none, each unless asked for", () => {
    const path = temporary();
    const run = openRun(path, recipe());
    run.release();
    expect(() => openRun(path, recipe("optimizer.lr=3"))).toThrow(
      /unfinished run of another recipe \(`optimizer.lr` differs\)/,
    );
    const replaced = openRun(path, recipe("optimizer.lr=3"), { overwrite: true });
    expect(replaced.resuming).toBe(false);
    writeFileSync(replaced.file("log.jsonl"), "{}\n");
    replaced.update({ status: "finished" });
    replaced.release();
    expect(() => openRun(path, recipe("optimizer.lr=3"))).toThrow(/holds a finished run; .*--overwrite/);
    openRun(path, recipe(), { overwrite: true }).release();
    expect(existsSync(join(path, "log.jsonl"))).toBe(false);

    const other = temporary();
    mkdirSync(join(other, "photos"));
    expect(() => openRun(other, recipe(), { overwrite: true })).toThrow(/is not empty and holds no run/);
    expect(readdirSync(other)).toEqual(["photos"]);
  });

  it("lets one process in at a time", () => {
    const path = temporary();
    const run = openRun(path, recipe());
    expect(() => openRun(path, recipe())).toThrow(/process \d+ on .* has been at work here since/);
    run.release();
    openRun(path, recipe()).release();
    expect(readdirSync(path)).not.toContain("lock");
  });

  it("takes over the lock of a process that is gone", () => {
    const path = join(temporary(), "lock");
    const { pid } = spawnSync(process.execPath, ["--version"]);
    const hold = (holder: object) => writeFileSync(path, JSON.stringify({ since: "then", ...holder }));
    hold({ pid, host: hostname() });
    lock(path, "x")();
    // The same pid as ours, from before a restart.
    hold({ pid: process.pid, host: hostname() });
    lock(path, "x")();
    writeFileSync(path, "{cut off");
    lock(path, "x")();
    hold({ pid, host: "elsewhere" });
    expect(() => lock(path, "x")).toThrow(/^x: process \d+ on elsewhere has been at work here since then/);
    hold({ pid: process.ppid, host: hostname() });
    expect(() => lock(path, "x")).toThrow(/has been at work/);
  });
});
