import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ProbeReport } from "../../src/superb/index.ts";
import { speechCommands } from "./trees.ts";

const bin = resolve(import.meta.dirname, "../../bin/voxsmith.js");
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "superb-cli-"));
  speechCommands(join(folder, "corpora"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const superb = (...args: string[]) =>
  spawnSync(process.execPath, [bin, "superb", ...args, "--corpus-root", "corpora"], {
    ...{ cwd: folder, encoding: "utf8" as const },
  });

describe("voxsmith superb", () => {
  test("probes, keeps everything that a score needs, and prints it as JSON", () => {
    const { status, stdout, stderr } = superb(
      "log-mel",
      "--tasks",
      "ks",
      "--steps",
      "2",
      "--threads",
      "1",
      "--json",
    );
    expect(stderr).toMatch(/hidden states of 22 recordings: [\d.]+ MB, 0 of them cached/);
    expect(status).toBe(0);
    const report = JSON.parse(stdout) as ProbeReport;
    expect(report.results[0]).toMatchObject({ task: "ks", steps: 2, seed: 0, layerWeights: [1] });
    expect(Object.keys(report.score!.tasks)).toEqual(["KS"]);
    const out = join(folder, "runs", "superb-log-mel");
    expect(existsSync(join(out, "ks", "predictions.jsonl"))).toBe(true);
    expect(JSON.parse(readFileSync(join(out, "report.json"), "utf8"))).toEqual(report);
  });

  test("says in one sentence what is missing", () => {
    const idle = superb("log-mel", "--tasks", "ks", "--sparsity", "0.1");
    expect([idle.status, idle.stderr]).toEqual([2, "voxsmith: --sparsity: goes with --train masks\n"]);
    const { status, stdout, stderr } = superb("log-mel", "--tasks", "ic");
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(
      /corpora: the task ic needs the folder fluent_speech_commands_dataset or .* there; name another --corpus-root\n$/,
    );
  });
});
