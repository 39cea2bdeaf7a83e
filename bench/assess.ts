import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { encodeWav } from "../src/audio/wav.ts";
import { Assessor } from "../src/methods/severity/assess/assess.ts";
import { random } from "../src/random.ts";
import type { BenchOptions } from "./options.ts";
import { randomRun } from "./ours/random-run.ts";

const RATE = 16_000;
const SECONDS = 10;
const bin = resolve(import.meta.dirname, "../bin/voxsmith.js");

/** Ten seconds of pulses in syllables. */
function speech(): Float32Array {
  const chance = random("bench speech");
  return Float32Array.from({ length: SECONDS * RATE }, (_, i) => {
    const t = i / RATE;
    let x = 0;
    for (let h = 1; h < 12; h++)
      x += Math.sin(2 * Math.PI * 120 * h * t) / (1 + ((h * 120 - 600) / 300) ** 2);
    return 0.1 * x * Math.max(0, Math.sin(9 * t)) + 0.0005 * chance.normal();
  });
}

const used = ({ user, system }: NodeJS.CpuUsage) => (user + system) / 1000;
const median = (values: readonly number[]) =>
  Math.round([...values].sort((a, b) => a - b)[values.length >> 1]);

/** Milliseconds of processor time of all children that have ended; NaN where the system does not tell. */
function childrenCpu(): number {
  try {
    // Fields 16 and 17 of /proc/self/stat: user and system time of waited-for children, in hundredths of a second.
    const fields = readFileSync("/proc/self/stat", "utf8").split(") ")[1].split(" ");
    return 10 * (Number(fields[13]) + Number(fields[14]));
  } catch {
    return Number.NaN;
  }
}

/** Times `voxsmith assess` of 10 s: with the model loaded, and from a cold process with a report. */
export async function benchAssess({ json, rounds, threads }: BenchOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "bench-assess-"));
  try {
    const run = join(folder, "run");
    randomRun(run);
    const recording = join(folder, "speech.wav");
    writeFileSync(recording, encodeWav(speech(), RATE));
    const assessor = await Assessor.open(run, { threads });
    const [warm, warmCpu]: number[][] = [[], []];
    for (let i = 0; i <= rounds; i++) {
      const [began, cpu] = [performance.now(), process.cpuUsage()];
      await assessor.assess([recording]);
      // The first one warms up.
      if (i === 0) continue;
      warm.push(performance.now() - began);
      warmCpu.push(used(process.cpuUsage(cpu)));
    }
    await assessor.dispose();
    const [cold, coldCpu]: number[][] = [[], []];
    for (let i = 0; i < rounds; i++) {
      const out = join(folder, `report-${i}.html`);
      const [began, before] = [performance.now(), childrenCpu()];
      const { status, stderr } = spawnSync(
        process.execPath,
        [bin, "assess", recording, "--model", run, "--threads", String(threads), "--out", out],
        { encoding: "utf8" },
      );
      if (status !== 0) throw new Error(stderr);
      cold.push(performance.now() - began);
      coldCpu.push(childrenCpu() - before);
    }
    for (const [name, times, cpu] of [
      ["assess: 10 s, base size, loaded", warm, warmCpu],
      ["assess: 10 s, base size, cold process, HTML report", cold, coldCpu],
    ] as const) {
      const row = {
        name,
        medianMs: median(times),
        minMs: Math.round(Math.min(...times)),
        // What it costs whoever else is running: on idle cores the time is about this over the threads.
        processorMs: median(cpu),
        rounds,
        threads,
      };
      console.log(
        json
          ? JSON.stringify(row)
          : `${name} | ${row.medianMs} ms (min ${row.minMs}), processor ${row.processorMs} ms, ${rounds} rounds, ${threads} threads, load average ${loadavg()[0].toFixed(1)}`,
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
