import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { curvesPage } from "../../../src/methods/router/replication/page.ts";
import { layerGroups } from "../../../src/methods/router/replication/plan.ts";
import {
  claimsOf,
  errorTable,
  lostRuns,
  type Row,
  taskRows,
  taskTable,
} from "../../../src/methods/router/replication/section.ts";
import { replicate } from "../../../src/methods/router/results.ts";
import { dataDir } from "../../shared.ts";

const row = (method: string, test: number, more: Partial<Row> = {}): Row => ({
  ...{ method, language: "nl", utterances: 300, seed: 1, valid: test, test },
  ...more,
});

describe("claims of the replication", () => {
  it("hold where the figures say so, and only there", () => {
    const chosen = [
      ...[row("mask order-preserving 0.1", 0.2), row("mask order-preserving 0.1", 0.22, { seed: 2 })],
      ...[row("weights", 0.25), row("adapters", 0.2), row("lora", 0.3)],
    ];
    const grid = [
      ...[row("mask order-preserving 0.1", 0.2), row("mask order-preserving 0.4", 0.3)],
      ...[row("mask random 0.1", 0.21), row("mask magnitude 0.1", 0.5), row("mask magnitude-mask 0.1", 0.1)],
    ];
    const pruning = [
      row("S3-Router-P 0.5", 0.3),
      row("PARP 0.5", 0.4),
      row("S3-Router-P 0.9", 0.8),
      row("PARP 0.9", 0.7),
    ];
    const ablations = [
      row("ffn 0.1", 0.2),
      row("attention 0.1", 0.4),
      row("both 0.1", 0.3),
      row("layer 0", 0.5),
      row("layer 1", 0.4),
    ];
    const tasks = [
      { task: "keyword", method: "weights", valid: 0.9, test: 0.8 },
      { task: "keyword", method: "mask 0.1", valid: 0.8, test: 0.85 },
      { task: "keyword", method: "mask 0.2", valid: 0.7, test: 0.95 },
    ];
    const claims = claimsOf({ grid, chosen, pruning, ablations, tasks, analysis: undefined });
    expect(claims.map(({ holds }) => holds)).toEqual([
      true,
      false,
      true,
      true,
      undefined,
      false,
      true,
      true,
      true,
      undefined,
    ]);
    expect(claims[8].found).toBe("keyword: accuracy 85.0 (mask 0.1) against 80.0");
    expect(claims[0].found).toContain("nl 10 min 21.0 against 25.0");
    expect(claims[5].found).toBe("0.5: 30.0 against 40.0; 0.9: 80.0 against 70.0");
    const none = { grid: [], chosen: [], pruning: [], ablations: [], tasks: [], analysis: undefined };
    expect(claimsOf(none).every(({ holds }) => holds === undefined)).toBe(true);
    expect(errorTable(chosen)).toContain("| mask order-preserving 0.1 | 21.0 ± 1.4 |");
  });
});

describe("the table of other tasks", () => {
  it("names the sparsity that validation chose, which need not be the best in the test", () => {
    const of = (method: string, valid: number, test: number) => [
      { method, language: "keyword" },
      { status: "finished", metrics: { "valid.task.accuracy": valid, "test.task.accuracy": test } },
    ];
    const runs = [of("weights", 0.9, 0.9), of("mask 0.1", 0.8, 0.7), of("mask 0.2", 0.7, 0.8)];
    const shown = taskTable(taskRows(new Map(runs as never)));
    expect(shown).toContain("| keyword | mask 0.1 (chosen) | 80.0 | 70.0 |");
    expect(shown).toContain("| keyword | mask 0.2 | 70.0 | 80.0 |");
  });
});

describe("the page of curves", () => {
  it("has error against sparsity for masks, pruning and modules, and nothing before there are runs", async () => {
    const none = { grid: [], chosen: [], pruning: [], ablations: [], tasks: [], analysis: undefined };
    expect(await curvesPage(none, [])).toBeUndefined();
    const page = await curvesPage(
      {
        ...none,
        grid: [row("weights", 0.25), row("mask random 0.1", 0.2), row("mask random 0.04", 0.3)],
        pruning: [row("PARP 0.5", 0.4), row("S3-Router-P random 0.5", 0.35)],
        ablations: [row("ffn 0.1", 0.2), row("layer 0", 0.5), row("layers 1 to 3", 0.5)],
      },
      [["upstream", "nano"]],
    );
    expect(page).toContain("nl, 10 min: mask random 0.04: 30.0, 0.1: 20.0");
    expect(page).toContain("all methods: PARP 0.5: 40.0; S3-Router-P random 0.5: 35.0");
    expect(page).toContain("what is masked: ffn 0.1: 20.0");
    expect(page).toContain("weights");
  });
});

describe("runs that learned nothing", () => {
  it("are named with their condition and seed", () => {
    const rows = [
      row("weights", 1, { seed: 2 }),
      row("weights", 0.02),
      row("mask", 0.97, { utterances: undefined }),
    ];
    expect(lostRuns(rows)).toContain("of 3: weights (nl, 10 min, seed 2); mask (nl, seed 1).");
    expect(lostRuns([row("weights", 0.5)])).toContain("of 1: none.");
  });
});

describe("layers in groups", () => {
  it("are the paper's four quarters, or single layers where there are few", () => {
    expect(layerGroups(12)).toEqual([0, 3, 6, 9].map((first) => [first, first + 1, first + 2]));
    expect(layerGroups(4)).toEqual([[0], [1], [2], [3]]);
    expect(layerGroups(1)).toEqual([[0]]);
    expect(layerGroups(6).flat()).toEqual([0, 1, 2, 3, 4, 5]);
  });
});

const data = dataDir();
describe("voxsmith results router", () => {
  // The whole of it takes minutes: `voxsmith results router --tiny` is the command for that.
  it.skipIf(data === undefined)("plans its runs, and stops for its budget before the first", async () => {
    const folder = join(mkdtempSync(join(tmpdir(), "router-")), "results");
    const options = {
      ...{ data: data!, folder, threads: 1, jobs: 1, planOnly: false, tiny: true, log: () => {} },
      signal: new AbortController().signal,
    };
    const plan = await replicate({ ...options, planOnly: true });
    expect(plan.result).toEqual({ runs: 5 + 5 + 6 + 8 + 4 + 6 });
    const stopped = await replicate({ ...options, budget: 1e-6 });
    expect(stopped.left).toBeGreaterThan(0);
  });

  it.skipIf(data === undefined)("ends where its upstream learned no phones", async () => {
    const folder = join(mkdtempSync(join(tmpdir(), "router-")), "results");
    const upstream = join(folder, "upstream");
    mkdirSync(upstream, { recursive: true });
    const run = { status: "finished", metrics: { "valid.phonemes.per": 0.99, "test.phonemes.per": 0.985 } };
    writeFileSync(join(upstream, "run.json"), JSON.stringify(run));
    const options = {
      ...{ data: data!, folder, threads: 1, jobs: 1, planOnly: false, tiny: false, log: () => {} },
      signal: new AbortController().signal,
    };
    await expect(replicate(options)).rejects.toThrow(/hardly any phones \(error rate 98\.5 %.*--upstream/);
  });
});
