import { spawnSync } from "node:child_process";
import { join } from "node:path";
import type { BenchOptions } from "./options.ts";

/** The official tasks with a head that learns, and the seconds that a training recording of their corpora lasts in the mean, or is cut to. */
const TASKS: Readonly<Record<string, number>> = {
  ...{ pr: 12.7, asr: 12.7, ks: 1, sid: 8, asv: 8, sd: 40, er: 4.5, ic: 2.3, sf: 3, st: 5.6, "asr-zh": 5 },
};

/** What a head's updates take. */
export interface HeadRow {
  readonly task: string;
  readonly batch: number;
  readonly seconds: number;
  readonly parameters: number;
  /** Milliseconds of an update with compiled graphs; seconds until the first one was done; milliseconds of reading one recording. */
  readonly updateMs: number;
  readonly firstSeconds: number;
  readonly readMs: number;
  readonly peakMB: number;
}

/**
 * SUPERB's heads at their official sizes and batches over features of wav2vec2-base's size (13 x 768 at 50 Hz, random numbers) of as many frames
 * as their corpora have; labels are those of tiny trees. One head a process, so that the peak is its own.
 */
export function benchHeads({ json, rounds, threads, only }: BenchOptions): void {
  for (const [task, seconds] of Object.entries(TASKS)) {
    if (only !== "" && !only.split(",").includes(task)) continue;
    const worker = join(import.meta.dirname, "ours", "head.ts");
    const args = ["--import", "tsx", worker, task, String(seconds), String(rounds), String(threads)];
    const { stdout, status } = spawnSync(process.execPath, args, {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
    });
    if (status !== 0) throw new Error(`the head of ${task} ended with status ${status}`);
    const row: HeadRow = JSON.parse(stdout);
    const { batch, parameters, updateMs, firstSeconds, readMs, peakMB } = row;
    console.log(
      json
        ? JSON.stringify(row)
        : `${task} | ${batch} x ${seconds} s | ${(parameters / 1e6).toFixed(1)} M parameters | an update ${updateMs} ms (the first after ${firstSeconds} s) | reading a recording ${readMs} ms | peak ${peakMB} MB`,
    );
  }
}
