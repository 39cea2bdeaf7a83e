import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  claimsOf,
  errorTable,
  type Row,
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
    const claims = claimsOf(grid, chosen, pruning, ablations, undefined);
    expect(claims.map(({ holds }) => holds)).toEqual([
      true,
      false,
      true,
      true,
      undefined,
      false,
      true,
      true,
      undefined,
    ]);
    expect(claims[0].found).toContain("nl 10 min 21.0 against 25.0");
    expect(claims[5].found).toBe("0.5: 30.0 against 40.0; 0.9: 80.0 against 70.0");
    expect(claimsOf([], [], [], [], undefined).every(({ holds }) => holds === undefined)).toBe(true);
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
    const shown = taskTable(new Map(runs as never));
    expect(shown).toContain("| keyword | mask 0.1 (chosen) | 80.0 | 70.0 |");
    expect(shown).toContain("| keyword | mask 0.2 | 70.0 | 80.0 |");
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
    expect(plan.result).toEqual({ runs: 5 + 5 + 6 + 6 + 4 + 6 });
    const stopped = await replicate({ ...options, budget: 1e-6 });
    expect(stopped.left).toBeGreaterThan(0);
  });
});
