import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { encodeWav } from "../src/audio/wav.ts";
import { Assessor } from "../src/methods/severity/assess/assess.ts";
import { random } from "../src/random.ts";
import { exportModel } from "../src/train/export.ts";
import { lossOf } from "../src/train/losses/index.ts";
import { modelOf } from "../src/train/model.ts";
import { parametersOf } from "../src/train/prepare.ts";
import { parseRecipe, printRecipe } from "../src/train/recipe.ts";
import { namePaths, type Task, type TaskObjective } from "../src/train/task.ts";

const RATE = 16_000;
const SECONDS = 10;
const bin = resolve(import.meta.dirname, "../bin/voxsmith.js");

/** A run's folder with random weights of wav2vec2-base's size, a severity head and one for 40 phones. */
function randomRun(folder: string): void {
  const phones = Array.from({ length: 40 }, (_, i) => `p${i}`);
  const recipe = parseRecipe(
    JSON.stringify({
      name: "bench-assess",
      upstream: { config: { model_type: "wav2vec2" } },
      corpus: { manifest: "none", classes: { severity: ["0", "1", "2", "3", "4"] }, symbols: phones },
      objectives: {
        severity: { loss: "cross-entropy", target: "labels.severity" },
        phonemes: { loss: "ctc", target: "phones" },
      },
    }),
    "bench",
  );
  const entries = Object.entries(recipe.objectives);
  const paths = namePaths(entries);
  const source = { utterances: [], corpus: recipe.corpus };
  const objectives = entries.map(
    ([name, spec]): TaskObjective => ({
      name,
      spec,
      target: lossOf(spec).target(spec, source),
      path: paths.get(name)!,
    }),
  );
  const task: Task = { model: modelOf(recipe), layers: "last", objectives };
  const { store } = parametersOf(recipe, task, false);
  mkdirSync(folder, { recursive: true });
  exportModel(folder, task, store, { spec: recipe.corpus });
  writeFileSync(join(folder, "recipe.yaml"), printRecipe(recipe));
}

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

/** Times `voxsmith assess` of 10 s: with the model loaded, and from a cold process with a report. */
export async function benchAssess(
  json: boolean,
  options: { rounds: number; threads: number },
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "bench-assess-"));
  try {
    const run = join(folder, "run");
    randomRun(run);
    const recording = join(folder, "speech.wav");
    writeFileSync(recording, encodeWav(speech(), RATE));
    const { rounds, threads } = options;
    const assessor = await Assessor.open(run, { threads });
    const warm: number[] = [];
    for (let i = 0; i <= rounds; i++) {
      const began = performance.now();
      await assessor.assess([recording]);
      // The first one warms up.
      if (i > 0) warm.push(performance.now() - began);
    }
    await assessor.dispose();
    const cold: number[] = [];
    for (let i = 0; i < rounds; i++) {
      const out = join(folder, `report-${i}.html`);
      const began = performance.now();
      const { status, stderr } = spawnSync(
        process.execPath,
        [bin, "assess", recording, "--model", run, "--threads", String(threads), "--out", out],
        { encoding: "utf8" },
      );
      if (status !== 0) throw new Error(stderr);
      cold.push(performance.now() - began);
    }
    for (const [name, times] of [
      ["assess: 10 s, base size, loaded", warm],
      ["assess: 10 s, base size, cold process, HTML report", cold],
    ] as const) {
      const sorted = [...times].sort((a, b) => a - b);
      const row = {
        name,
        medianMs: Math.round(sorted[Math.floor(sorted.length / 2)]),
        minMs: Math.round(sorted[0]),
        rounds,
        threads,
      };
      console.log(
        json
          ? JSON.stringify(row)
          : `${name} | ${row.medianMs} ms (min ${row.minMs}, ${rounds} rounds, ${threads} threads)`,
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
