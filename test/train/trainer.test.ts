import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { readLog } from "../../src/train/log.ts";
import { parseRecipe } from "../../src/train/recipe.ts";
import { readRun } from "../../src/train/run-folder.ts";
import { train } from "../../src/train/trainer.ts";
import { openWeights } from "../../src/weights/model-folder.ts";
import { tinyCorpus, tinyRecipe } from "./tiny-corpus.ts";

const bin = resolve(import.meta.dirname, "../../bin/voxsmith.js");
const corpus = tinyCorpus();
const fresh = () => join(mkdtempSync(join(tmpdir(), "run-")), "run");
const recipeOf = (changes: Record<string, unknown> = {}) => parseRecipe(tinyRecipe(changes), "tiny.yaml");
const run = (changes: Record<string, unknown> = {}, more: Partial<Parameters<typeof train>[1]> = {}) =>
  train(recipeOf(changes), {
    data: corpus.folder,
    out: fresh(),
    skipBad: false,
    log: () => {},
    ...more,
  });

/** What a run's results are, as bytes: no clock times among them. */
const results = (folder: string) =>
  ["log.jsonl", "model.safetensors", "heads.safetensors", "predictions.jsonl", "config.json"].map((name) =>
    readFileSync(join(folder, name)).toString("base64"),
  );

describe("a training run", () => {
  it("learns, and leaves a folder that says everything", async () => {
    const { folder, metrics, status } = await run({ epochs: 40, baseline: "log-mel-ridge" });
    expect(status).toBe("finished");
    expect(metrics["test.word.accuracy"]).toBe(1);
    expect(metrics["baseline.test.word.accuracy"]).toBeGreaterThan(0.5);
    expect(readdirSync(folder).sort()).toEqual(
      [
        ...[
          "checkpoints",
          "config.json",
          "events.out.tfevents.voxsmith",
          "heads.safetensors",
          "lineage.json",
          "log.jsonl",
          "model.safetensors",
        ],
        ...["predictions.jsonl", "preprocessor_config.json", "recipe.yaml", "run.json", "targets.json"],
        ...["tokenizer_config.json", "vocab.json"],
      ].sort(),
    );
    const info = readRun(folder)!;
    expect(info.status).toBe("finished");
    expect(info.data?.utterances).toEqual({ train: 16, valid: 8, test: 8 });
    const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
    expect(config).toMatchObject({ architectures: ["Wav2Vec2ForCTC"], vocab_size: 5, pad_token_id: 0 });
    const log = readLog(join(folder, "log.jsonl"));
    expect(log.filter(({ event }) => event === "train")).toHaveLength(160);
    expect(log.filter(({ event }) => event === "valid")).toHaveLength(40);
    const losses = log.flatMap((r) =>
      r.event === "valid" ? [(r.metrics as Record<string, number>)["letters.loss"]] : [],
    );
    expect(losses.at(-1)).toBeLessThan(0.75 * losses[0]);
    const lines = readFileSync(join(folder, "predictions.jsonl"), "utf8").trim().split("\n");
    expect(lines.map((line) => JSON.parse(line).part).sort()).toEqual([
      ...Array(8).fill("test"),
      ...Array(8).fill("valid"),
    ]);
  });

  it("repeats bit for bit, and not with another seed", async () => {
    const changes = { epochs: 2, augment: { speed: [0.9, 1.1], noise: [10, 20] } };
    const [a, b, c] = [await run(changes), await run(changes), await run({ ...changes, seed: 2 })];
    expect(results(a.folder)).toEqual(results(b.folder));
    expect(results(a.folder)[1]).not.toEqual(results(c.folder)[1]);
  });

  it("saves when told to stop, and ends as if it had not been", async () => {
    const changes = { batch: { size: 3, accumulate: 2 }, plan: { freeze: [], headFirst: 0.4 } };
    const whole = await run(changes);
    const out = fresh();
    const stopped: number[] = [];
    for (;;) {
      // Raised at the fifth look, which is before the fifth update of each call.
      let looks = 0;
      const signal = Object.defineProperty(new AbortController().signal, "aborted", {
        get: () => ++looks > 4,
      });
      const { status, step } = await run(changes, { out, signal });
      if (status === "finished") break;
      stopped.push(step);
      expect(readRun(out)?.status).toBe("interrupted");
    }
    expect(stopped).toEqual([4, 8, 12, 16]);
    expect(results(out)).toEqual(results(whole.folder));
  });

  it("ends as if it had not been killed, wherever it is killed", async () => {
    const changes = {
      epochs: 10,
      checkpoint: { everySteps: 3, everyMinutes: 0 },
      schedule: { name: "newbob" },
    };
    const whole = await run(changes);
    const recipe = join(corpus.folder, "killed.yaml");
    writeFileSync(recipe, tinyRecipe(changes));
    const out = fresh();
    const args = [bin, "train", recipe, "--data", corpus.folder, "--out", out];
    for (const lines of [5, 23]) {
      const child = spawn(process.execPath, args, { stdio: "ignore" });
      await new Promise<void>((done) => {
        const watch = setInterval(() => {
          const log = join(out, "log.jsonl");
          if (!existsSync(log) || readFileSync(log, "utf8").split("\n").length <= lines) return;
          child.kill("SIGKILL");
        }, 2);
        child.on("exit", () => {
          clearInterval(watch);
          done();
        });
      });
      expect(child.signalCode).toBe("SIGKILL");
    }
    const last = spawnSync(process.execPath, [...args, "--resume"], { encoding: "utf8" });
    expect(last.status, last.stderr).toBe(0);
    expect(last.stderr).toMatch(/resuming after step \d+ of 40/);
    expect(results(out)).toEqual(results(whole.folder));
    expect(readRun(out)?.resumed).toBe(2);
  });

  it("answers Ctrl-C with 130 and the command that goes on", async () => {
    const recipe = join(corpus.folder, "interrupted.yaml");
    writeFileSync(recipe, tinyRecipe({ epochs: 400 }));
    const out = fresh();
    const child = spawn(process.execPath, [bin, "train", recipe, "--data", corpus.folder, "--out", out]);
    let said = "";
    child.stderr.on("data", (bytes) => {
      said += bytes;
    });
    const watch = setInterval(() => {
      if (existsSync(join(out, "log.jsonl")) && readLog(join(out, "log.jsonl")).length > 10) {
        clearInterval(watch);
        child.kill("SIGINT");
      }
    }, 5);
    const code = await new Promise((done) => child.on("exit", done));
    expect(code).toBe(130);
    expect(said).toMatch(
      /saved after step \d+; go on with: voxsmith train \S+ --data \S+ --out \S+ --resume/,
    );
    expect(readRun(out)?.status).toBe("interrupted");
    expect(existsSync(join(out, "checkpoints", "latest"))).toBe(true);
  });

  it("goes on from a run's own model", async () => {
    const first = await run({ epochs: 1 });
    const next = await run({
      epochs: 1,
      upstream: { model: first.folder },
      plan: { freeze: ["*"], headFirst: 0 },
    }).catch((error) => error);
    expect(String(next)).toMatch(/plan.freeze: leaves no parameter to train/);
    const tuned = await run({
      epochs: 1,
      upstream: { model: first.folder },
      plan: { freeze: ["encoder", "feature_*", "masked_spec_embed"] },
    });
    const [before, after] = [openWeights(first.folder), openWeights(tuned.folder)];
    for (const name of before.infos.keys())
      if (name.startsWith("wav2vec2.")) expect(after.readF32(name)).toEqual(before.readF32(name));
    expect(after.readF32("lm_head.weight")).not.toEqual(before.readF32("lm_head.weight"));
  });
});
